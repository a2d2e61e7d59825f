// Charts with two axes: lines, points, histograms. Places are percent of the field; an SVG that
// stretches holds the marks, HTML around it the text.
#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/core/error.h"
#include "html.h"
#include "report_marks.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr int kMostDots = 40;  // of a series; beyond, the line says enough

/// Maps values to 0 .. 100 of the field.
class Scale {
 public:
  Scale(double low, double high, bool logarithmic)
      : low_(to(low, logarithmic)), high_(to(high, logarithmic)), logarithmic_(logarithmic) {
    if (high_ <= low_) {
      low_ -= 0.5;
      high_ += 0.5;
    }
  }
  double percent(double value) const {
    return std::clamp(100.0 * (to(value, logarithmic_) - low_) / (high_ - low_), 0.0, 100.0);
  }

 private:
  static double to(double value, bool logarithmic) {
    return logarithmic ? std::log2(value) : value;
  }
  double low_, high_;
  bool logarithmic_;
};

struct Extent {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void see(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }
  bool empty() const { return high < low; }
};

bool drawable(const Point& point, bool log_x) {
  return std::isfinite(point.x) && std::isfinite(point.y) && (!log_x || point.x > 0.0);
}

std::string place(double value) { return fixed(value, 2); }

/// Where the marks of a chart lie.
struct Field {
  Scale x;
  Scale y;
};

std::string series_marks(const Series& series, const Field& field, bool log_x) {
  std::string path;
  std::string dots;
  double last_y = 0.0;
  for (const Point& point : series.points) {
    if (!drawable(point, log_x)) continue;
    const double x = field.x.percent(point.x);
    const double y = 100.0 - field.y.percent(point.y);
    if (series.stepped && !path.empty()) path += cat("L", place(x), " ", place(last_y));
    path += cat(path.empty() ? "M" : "L", place(x), " ", place(y));
    last_y = y;
    dots += cat("<path class=\"mark dot\" d=\"M", place(x), " ", place(y), "h.01\"><title>",
                escape_html(point.note), "</title></path>");
  }
  std::string text;
  if (series.joined) {
    text += cat("<path class=\"mark line", series.dashed ? " dashed" : "", "\" d=\"", path, "\"/>");
  }
  if (!series.joined || series.points.size() <= kMostDots) text += dots;
  return text;
}

std::string switches(const std::vector<Series>& series) {
  std::string text = "<p class=\"legend\">";
  for (std::size_t i = 0; i < series.size(); ++i) {
    if (series[i].name.empty()) continue;
    text +=
        cat("<button type=\"button\" data-series=\"", i, "\" aria-pressed=\"true\"><i",
            series[i].dashed ? " class=\"dashed\"" : "", " style=\"background:", series[i].color,
            "\"></i>", escape_html(series[i].name), "</button> ");
  }
  return text + "</p>";
}

std::string grid_lines(const std::vector<double>& xs, const std::vector<double>& ys,
                       const Field& field) {
  std::string path;
  for (const double x : xs) path += cat("M", place(field.x.percent(x)), " 0V100");
  for (const double y : ys) path += cat("M0 ", place(100.0 - field.y.percent(y)), "H100");
  return cat("<path class=\"rule\" d=\"", path, "\"/>");
}

/// Field with its axes around it.
std::string plot(const Axes& axes, const std::vector<double>& xs, const std::vector<double>& ys,
                 const Field& field, const std::string& marks) {
  std::string text = "<div class=\"plot\"><div class=\"y\">";
  std::size_t widest = 1;
  for (const double y : ys) {
    widest = std::max(widest, tick_text(y).size());
    text +=
        cat("<span style=\"bottom:", place(field.y.percent(y)), "%\">", tick_text(y), "</span>");
  }
  // The widest label, unseen, gives the axis its width.
  text += cat("<b>", std::string(widest, '0'), "</b></div><svg viewBox=\"0 0 100 100\" ",
              "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"", escape_html(axes.y_label),
              " by ", escape_html(axes.x_label), "\">", grid_lines(xs, ys, field), marks,
              "</svg><div class=\"x\">");
  for (const double x : xs) {
    text += cat("<span style=\"left:", place(field.x.percent(x)), "%\">", tick_text(x), "</span>");
  }
  return cat(text, "</div></div><p class=\"axes\">", escape_html(axes.x_label), "</p>");
}

std::string histogram_marks(const GridHistogram& of, const Scale& x) {
  const double largest = *std::max_element(of.counts.begin(), of.counts.end());
  const double width = 100.0 / static_cast<double>(of.counts.size());
  std::string path = "M0 100";
  for (std::size_t i = 0; i < of.counts.size(); ++i) {
    const double height = 96.0 * std::sqrt(of.counts[i] / largest);
    const auto left = static_cast<double>(i);
    path += cat("L", place(width * left), " ", place(100.0 - height), "L",
                place(width * (left + 1.0)), " ", place(100.0 - height));
  }
  std::string levels;
  for (const double line : of.lines) levels += cat("M", place(x.percent(line)), " 0V100");
  const double left = of.lines.empty() ? 0.0 : x.percent(of.lines.front());
  const double right = of.lines.empty() ? 100.0 : x.percent(of.lines.back());
  return cat("<rect class=\"inside\" x=\"", place(left), "\" y=\"0\" width=\"", place(right - left),
             "\" height=\"100\"/><path class=\"levels\" d=\"", levels,
             "\"/><path class=\"mark area\" d=\"", path, "L100 100Z\"/>");
}

}  // namespace

std::string chart_begin(const ChartHead& head, const std::string& more_classes) {
  return cat("<section class=\"chart", more_classes.empty() ? "" : " ", more_classes, "\" id=\"",
             head.id, "\"><h2>", escape_html(head.title), "</h2><p class=\"hint\">",
             escape_html(head.hint), "</p>\n");
}

std::vector<double> round_ticks(double low, double high, int count) {
  const double rough = (high - low) / count;
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  double step = 10.0 * power;
  for (const double factor : {1.0, 2.0, 5.0}) {
    if (factor * power >= rough) {
      step = factor * power;
      break;
    }
  }
  std::vector<double> ticks;
  const double first = std::ceil(low / step - 1e-9);
  for (double i = first; i * step <= high + 1e-9 * step; i += 1.0) ticks.push_back(i * step);
  return ticks;
}

std::string tick_text(double value) {
  if (std::abs(value) < 1e-12) return "0";
  if (std::abs(value) < 1e-3 || std::abs(value) >= 1e6) return scientific(value);
  std::string text = fixed(value, 4);
  text.erase(text.find_last_not_of('0') + 1);
  if (text.back() == '.') text.pop_back();
  return text;
}

std::string line_chart(const ChartHead& head, const Axes& axes, const std::vector<Series>& series) {
  Extent x_extent;
  Extent y_extent;
  for (const Series& one : series) {
    for (const Point& point : one.points) {
      if (!drawable(point, axes.log_x)) continue;
      x_extent.see(point.x);
      y_extent.see(point.y);
    }
  }
  if (x_extent.empty()) return "";
  if (std::isfinite(axes.y_low)) y_extent.low = std::min(axes.y_low, y_extent.high);
  const double margin = y_extent.high > y_extent.low ? 0.06 * (y_extent.high - y_extent.low) : 0.5;
  y_extent.see(y_extent.high + margin);
  if (!std::isfinite(axes.y_low)) y_extent.see(y_extent.low - margin);
  const Field field{Scale(x_extent.low, x_extent.high, axes.log_x),
                    Scale(y_extent.low, y_extent.high, false)};
  std::vector<double> xs = axes.x_ticks;
  if (xs.empty() && axes.log_x) {
    for (double tick = std::exp2(std::ceil(std::log2(x_extent.low) - 1e-9));
         tick <= x_extent.high * 1.0001; tick *= 2.0) {
      xs.push_back(tick);
    }
  } else if (xs.empty() && x_extent.high > x_extent.low) {
    xs = round_ticks(x_extent.low, x_extent.high, 6);
  } else if (xs.empty()) {
    xs = {x_extent.low};
  }
  std::string marks;
  bool named = false;
  for (std::size_t i = 0; i < series.size(); ++i) {
    named = named || !series[i].name.empty();
    marks += cat("<g data-series=\"", i, "\" stroke=\"", series[i].color, "\">",
                 series_marks(series[i], field, axes.log_x), "</g>\n");
  }
  return cat(chart_begin(head), named ? switches(series) : "",
             plot(axes, xs, round_ticks(y_extent.low, y_extent.high, 5), field, marks),
             "</section>\n");
}

std::string histograms(const ChartHead& head, const std::vector<GridHistogram>& all) {
  std::string text;
  for (const GridHistogram& of : all) {
    const bool seen =
        std::any_of(of.counts.begin(), of.counts.end(), [](double count) { return count > 0.0; });
    if (!seen || !(of.low < of.high)) continue;
    const Scale x(of.low, of.high, false);
    text += cat("<figure><figcaption><b>", escape_html(of.title), "</b> ", escape_html(of.text),
                "</figcaption><div class=\"small plot\"><svg viewBox=\"0 0 100 100\" ",
                "preserveAspectRatio=\"none\" role=\"img\" aria-label=\"Histogram of ",
                escape_html(of.title), "\">", histogram_marks(of, x), "</svg><div class=\"x\">");
    for (const double tick : round_ticks(of.low, of.high, 4)) {
      text +=
          cat("<span style=\"left:", place(x.percent(tick)), "%\">", tick_text(tick), "</span>");
    }
    text += "</div></div></figure>\n";
  }
  if (text.empty()) return "";
  return cat(chart_begin(head, "wide"), "<div class=\"figures\">", text, "</div></section>\n");
}

}  // namespace bitloom::tools
