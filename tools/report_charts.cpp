#include "report_charts.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "bitloom/core/error.h"
#include "html.h"
#include "report_marks.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

double finite_or_zero(double value) { return std::isfinite(value) ? value : 0.0; }

/// <i> whose width is `share` of what the value's text leaves free.
std::string bar_mark(const Bar& bar, double largest) {
  if (!std::isfinite(bar.value)) return "";
  const double share = largest > 0.0 ? bar.value / largest : 0.0;
  return cat("<i class=\"mark\" style=\"--share:", fixed(share, 4), ";background:", bar.color,
             "\"></i>");
}

std::string bar_line(const Bar& bar, double largest) {
  const std::string text = std::isfinite(bar.value) ? bar.text : "not measured";
  return cat("<div class=\"bar\"><span class=\"name\">", escape_html(bar.label),
             "</span><span class=\"track\">", bar_mark(bar, largest), "<b>", escape_html(text),
             "</b></span></div>\n");
}

double largest_of(const std::vector<Bar>& bars) {
  double largest = 0.0;
  for (const Bar& bar : bars) largest = std::max(largest, finite_or_zero(bar.value));
  return largest;
}

bool any_finite(const std::vector<Bar>& bars) {
  return std::any_of(bars.begin(), bars.end(),
                     [](const Bar& bar) { return std::isfinite(bar.value); });
}

/// Colours of labels in the order in which they first appear.
class Legend {
 public:
  void add(const std::string& label, const std::string& color) {
    if (colors_.try_emplace(label, color).second) labels_.push_back(label);
  }
  std::string html() const {
    std::string text = "<p class=\"legend\">";
    for (const std::string& label : labels_) {
      text += cat("<span><i style=\"background:", colors_.at(label), "\"></i>", escape_html(label),
                  "</span> ");
    }
    return text + "</p>";
  }

 private:
  std::map<std::string, std::string> colors_;
  std::vector<std::string> labels_;
};

/// Pale to dark blue, and ink that is read on it.
std::string heat_style(double share) {
  const double t = std::clamp(share, 0.0, 1.0);
  const auto mix = [t](double from, double to) { return std::lround(from + t * (to - from)); };
  return cat("background:rgb(", mix(239, 18), ",", mix(245, 74), ",", mix(253, 158),
             ");color:", t > 0.55 ? "#fff" : "#1c2430");
}

}  // namespace

std::string method_color(const std::string& method) {
  static const std::map<std::string, std::string> colors = {{"float", "#7d8896"},
                                                            {"bf16", "#4b5563"},
                                                            {"ptq", "#d97d0d"},
                                                            {"ptq-dynamic", "#b0563a"},
                                                            {"ptq-weight-only", "#b8940f"},
                                                            {"qat", "#1f6feb"}};
  auto found = colors.find(method);
  if (found == colors.end()) found = colors.find(method.substr(0, method.find('-')));
  return found == colors.end() ? "#2a8a67" : found->second;
}

std::string series_color(std::size_t index) {
  constexpr std::array<const char*, 10> kColors = {"#1f6feb", "#d97d0d", "#2a8a67", "#b3307a",
                                                   "#7d8896", "#7a4fd0", "#b8940f", "#12939a",
                                                   "#c23b2e", "#5a6b1e"};
  return kColors[index % kColors.size()];
}

std::string bar_chart(const ChartHead& head, const std::vector<Bar>& bars) {
  if (!any_finite(bars)) return "";
  std::string text = chart_begin(head) + "<div class=\"bars\">\n";
  for (const Bar& bar : bars) text += bar_line(bar, largest_of(bars));
  return text + "</div></section>\n";
}

std::string grouped_bar_chart(const ChartHead& head, const std::vector<BarGroup>& groups) {
  double largest = 0.0;
  bool any = false;
  for (const BarGroup& group : groups) {
    largest = std::max(largest, largest_of(group.bars));
    any = any || any_finite(group.bars);
  }
  if (!any) return "";
  std::string text = chart_begin(head);
  for (const BarGroup& group : groups) {
    text += cat("<h3>", escape_html(group.label), "</h3><div class=\"bars\">\n");
    for (const Bar& bar : group.bars) text += bar_line(bar, largest);
    text += "</div>\n";
  }
  return text + "</section>\n";
}

std::string stacked_bar_chart(const ChartHead& head, const std::vector<StackedBar>& bars) {
  double largest = 0.0;
  Legend legend;
  for (const StackedBar& bar : bars) {
    double sum = 0.0;
    for (const Bar& part : bar.parts) {
      sum += finite_or_zero(part.value);
      legend.add(part.label, part.color);
    }
    largest = std::max(largest, sum);
  }
  if (largest <= 0.0) return "";
  std::string text = chart_begin(head) + legend.html() + "<div class=\"bars\">\n";
  for (const StackedBar& bar : bars) {
    text += cat("<div class=\"bar\"><span class=\"name\">", escape_html(bar.label),
                "</span><span class=\"track\">");
    for (const Bar& part : bar.parts) {
      if (!std::isfinite(part.value)) continue;
      text += cat("<i class=\"mark part\" title=\"", escape_html(part.label), ": ",
                  escape_html(part.text), "\" style=\"--share:", fixed(part.value / largest, 4),
                  ";background:", part.color, "\"></i>");
    }
    text += cat("<b>", escape_html(bar.text), "</b></span></div>\n");
  }
  return text + "</div></section>\n";
}

std::string heat_map(const ChartHead& head, const HeatMap& map) {
  std::string body;
  bool any = false;
  for (const HeatMap::Row& row : map.rows) {
    body += cat("<tr><th scope=\"row\">", escape_html(row.label), "</th>");
    for (const double value : row.values) {
      if (!std::isfinite(value)) {
        body += "<td>-</td>";
        continue;
      }
      any = true;
      const double span = map.high - map.low;
      body += cat("<td class=\"mark\" style=\"",
                  heat_style(span > 0.0 ? (value - map.low) / span : 0.0), "\">",
                  fixed(value, map.decimals), "</td>");
    }
    body += "</tr>\n";
  }
  if (!any) return "";
  std::string text = chart_begin(head, "wide") +
                     "<div class=\"scroll\"><table class=\"heat\"><thead><tr><th></th>";
  for (const std::string& column : map.columns) {
    text += cat("<th scope=\"col\">", escape_html(column), "</th>");
  }
  return text + "</tr></thead><tbody>\n" + body + "</tbody></table></div></section>\n";
}

}  // namespace bitloom::tools
