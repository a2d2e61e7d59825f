#include "report_sections.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "report_charts.h"
#include "report_columns.h"
#include "report_marks.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kPointsShown = 25.0;  // accuracy further below the best lies on a chart's edge

double number(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_number() ? found->get<double>() : kNone;
}

std::string charts(const std::string& content) {
  return content.empty() ? "" : cat("<div class=\"charts\">\n", content, "</div>\n");
}

template <typename Value, typename Text>
std::string row_bars(const ChartHead& head, const std::vector<Json>& rows, Value value, Text text) {
  std::vector<Bar> bars;
  for (const Json& row : rows) {
    const double size = value(row);
    bars.push_back({row_title(row), size, text(size), method_color(row.value("method", "?"))});
  }
  return bar_chart(head, bars);
}

double weight_width(const Json& row) {
  const double average = number(row, "average_weight_bits");
  return std::isfinite(average) ? average : number(row, "weight_bits");
}

std::string point_note(const Json& row) {
  return cat(row_title(row), ": ", fixed(number(row, "top1"), 2), " %, ",
             fixed(weight_width(row), 2), " bits a weight, ",
             bytes_text(static_cast<std::int64_t>(number(row, "size_bytes"))));
}

double best_top1(const std::vector<Json>& rows) {
  double best = 0.0;
  for (const Json& row : rows) best = std::max(best, number(row, "top1"));
  return best;
}

/// Lower end of an accuracy axis: the least value, unless that would crush all others.
double accuracy_low(const std::vector<Json>& rows) {
  double low = best_top1(rows);
  for (const Json& row : rows) {
    const double top1 = number(row, "top1");
    if (top1 >= best_top1(rows) - kPointsShown) low = std::min(low, top1);
  }
  return low - 0.1 * (best_top1(rows) - low) - 0.05;
}

std::string edge_hint(const std::vector<Json>& rows) {
  const auto low = std::count_if(rows.begin(), rows.end(), [&](const Json& row) {
    return number(row, "top1") < accuracy_low(rows);
  });
  return low == 0 ? "" : cat("; ", low, " on the lower edge lie below it");
}

std::string accuracy_by_bits(const std::vector<Json>& rows) {
  std::vector<Series> series;
  for (const Json& row : rows) {
    const std::string method = row.value("method", "?");
    if (!std::isfinite(number(row, "top1")) || !std::isfinite(weight_width(row))) continue;
    auto found = std::find_if(series.begin(), series.end(),
                              [&](const Series& one) { return one.name == method; });
    if (found == series.end()) {
      series.push_back({.name = method,
                        .color = series_color(series.size()),
                        .points = {},
                        .dashed = series.size() >= 10});
      found = series.end() - 1;
    }
    found->points.push_back({weight_width(row), number(row, "top1"), point_note(row)});
  }
  for (Series& one : series) {
    std::sort(one.points.begin(), one.points.end(),
              [](const Point& a, const Point& b) { return a.x < b.x; });
  }
  return line_chart({"accuracy-bits", "Accuracy against bits",
                     "top-1 % of test images, by average width of a weight" + edge_hint(rows)},
                    {.x_label = "bits of a weight",
                     .y_label = "top-1 %",
                     .log_x = true,
                     .y_low = accuracy_low(rows)},
                    series);
}

/// Size against accuracy, and the steps of those that no other beats in both.
std::string accuracy_by_size(const std::vector<Json>& rows) {
  std::map<std::string, Series> families;
  std::vector<Point> all;
  for (const Json& row : rows) {
    const Point point{number(row, "size_bytes") / 1024.0, number(row, "top1"), point_note(row)};
    if (!std::isfinite(point.x) || !std::isfinite(point.y)) continue;
    const std::string method = row.value("method", "?");
    const std::string family = method.substr(0, method.find('-'));
    Series& series = families[family];
    series.name = family;
    series.color = method_color(family);
    series.joined = false;
    series.points.push_back(point);
    all.push_back(point);
  }
  std::sort(all.begin(), all.end(),
            [](const Point& a, const Point& b) { return a.x != b.x ? a.x < b.x : a.y > b.y; });
  Series front{.name = "not beaten in both",
               .color = "#1c2430",
               .points = {},
               .stepped = true,
               .dashed = true};
  for (const Point& point : all) {
    if (front.points.empty() || point.y > front.points.back().y) front.points.push_back(point);
  }
  if (all.size() < 2) return "";
  std::vector<Series> series = {front};
  for (const auto& [name, one] : families) series.push_back(one);
  return line_chart(
      {"accuracy-size", "Accuracy against size",
       "top-1 % by KiB of the exported file; upper left is better" + edge_hint(rows)},
      {.x_label = "KiB", .y_label = "top-1 %", .log_x = true, .y_low = accuracy_low(rows)}, series);
}

/// Weight widths by layer name, of layers that have weights.
std::map<std::string, double> widths_of(const Json& row, std::vector<std::string>& order) {
  std::map<std::string, double> widths;
  if (!row.contains("plan")) return widths;
  for (const Json& layer : row.at("plan")) {
    const std::string op = layer.value("op", "");
    if (op != "conv2d" && op != "linear") continue;
    const std::string name = layer.value("layer", "");
    if (std::find(order.begin(), order.end(), name) == order.end()) order.push_back(name);
    widths[name] = number(layer, "weight_bits");
  }
  return widths;
}

std::string widths_by_layer(const std::vector<Json>& rows) {
  HeatMap map{.columns = {}, .rows = {}, .low = 1.0, .high = 8.0, .decimals = 0};
  std::vector<std::string> layers;
  std::vector<std::map<std::string, double>> columns;
  for (const Json& row : rows) {
    const std::map<std::string, double> widths = widths_of(row, layers);
    const auto differs = [&](const auto& pair) { return pair.second != widths.begin()->second; };
    if (std::none_of(widths.begin(), widths.end(), differs)) continue;
    if (std::find(columns.begin(), columns.end(), widths) != columns.end()) continue;
    columns.push_back(widths);
    map.columns.push_back(row_title(row));
  }
  for (const std::string& layer : layers) {
    HeatMap::Row line{layer, {}};
    for (const auto& widths : columns) {
      line.values.push_back(widths.contains(layer) ? widths.at(layer) : kNone);
    }
    map.rows.push_back(std::move(line));
  }
  return heat_map({"widths", "Widths by layer",
                   "bits of a weight; the first model of each pattern that differs by layer"},
                  map);
}

/// A line for a run: `key` of its epochs.
std::string epoch_chart(const ChartHead& head, const std::vector<Json>& epochs, const char* key,
                        double factor, const std::string& y_label) {
  std::vector<Series> series;
  for (const Json& row : epochs) {
    const std::string run = row.value("run", "?");
    const Point point{number(row, "epoch"), factor * number(row, key),
                      cat(run, ", epoch ", fixed(number(row, "epoch"), 0), ": ",
                          fixed(factor * number(row, key), 4))};
    if (!std::isfinite(point.x) || !std::isfinite(point.y)) continue;
    if (series.empty() || series.back().name != run) {
      series.push_back({.name = run,
                        .color = series_color(series.size()),
                        .points = {},
                        .dashed = series.size() >= 10});
    }
    series.back().points.push_back(point);
  }
  double last = 1.0;
  for (const Series& one : series) last = std::max(last, one.points.back().x);
  std::vector<double> ticks = round_ticks(1.0, last + 1e-6, 6);
  std::erase_if(ticks, [](double tick) { return tick != std::round(tick); });
  return line_chart(head, {.x_label = "epoch", .y_label = y_label, .x_ticks = ticks}, series);
}

}  // namespace

std::string overview_charts(const std::vector<Json>& rows) {
  const auto scaled = [](const char* key, double factor) {
    return [=](const Json& row) { return factor * number(row, key); };
  };
  const auto with_unit = [](int decimals, const char* unit) {
    return [=](double value) { return cat(fixed(value, decimals), unit); };
  };
  std::string text;
  text += row_bars(
      {"error", "Top-1 error", "percent of test images; shorter is better"}, rows,
      [](const Json& row) { return 100.0 - number(row, "top1"); }, with_unit(2, " %"));
  text += row_bars({"latency", "Latency", "milliseconds, median; shorter is better"}, rows,
                   scaled("latency_ms_p50", 1.0), with_unit(3, " ms"));
  text += row_bars({"size", "Size", "KiB of the exported file; shorter is better"}, rows,
                   scaled("size_bytes", 1.0 / 1024.0), with_unit(1, " KiB"));
  text += row_bars({"memory", "Peak memory", "MiB above start-up; shorter is better"}, rows,
                   scaled("peak_memory_bytes", 1.0 / 1048576.0), with_unit(1, " MiB"));
  text += accuracy_by_bits(rows) + accuracy_by_size(rows) + widths_by_layer(rows);
  return charts(text);
}

std::string training_charts(const std::vector<Json>& epochs) {
  std::string text;
  text +=
      epoch_chart({"validation", "Validation accuracy",
                   "top-1 % of the exported model on validation images; click a name to hide it"},
                  epochs, "validation_top1", 1.0, "top-1 %");
  text += epoch_chart({"loss", "Training loss", "mean of the epoch; with distillation its own"},
                      epochs, "loss", 1.0, "loss");
  text +=
      epoch_chart({"code-changes", "Codes that change",
                   "percent of one- and two-bit weights whose code is another than an epoch ago"},
                  epochs, "code_changes", 100.0, "percent");
  return charts(text);
}

}  // namespace bitloom::tools
