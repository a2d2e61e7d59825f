// The charts of what quantization does inside the models: layers.jsonl.
#include <cmath>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "bitloom/core/error.h"
#include "html.h"
#include "report_charts.h"
#include "report_sections.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr double kMostLines = 40.0;  // of a grid; of a finer one its ends are drawn

double number(const Json& row, const char* key) {
  const auto found = row.find(key);
  return found != row.end() && found->is_number() ? found->get<double>() : kNone;
}

const Json& list(const Json& row, const char* key) {
  static const Json nothing = Json::array();
  const auto found = row.find(key);
  return found != row.end() && found->is_array() ? *found : nothing;
}

/// Names in the order in which the rows first tell them.
template <typename Name>
std::vector<std::string> names_in(const std::vector<Json>& layers, const char* key, Name name) {
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const Json& row : layers) {
    for (const Json& each : list(row, key)) {
      if (seen.insert(name(each)).second) names.push_back(name(each));
    }
  }
  return names;
}

/// A line for each name, a column for each run that tells something.
std::string by_run(const ChartHead& head, const std::vector<Json>& layers, const char* key,
                   const char* name_key, const std::function<double(const Json&)>& value,
                   double low, double high) {
  HeatMap map{.columns = {}, .rows = {}, .low = low, .high = high, .decimals = 1};
  const auto name = [&](const Json& each) { return each.value(name_key, "?"); };
  for (const std::string& each : names_in(layers, key, name)) map.rows.push_back({each, {}});
  for (const Json& row : layers) {
    if (list(row, key).empty()) continue;
    map.columns.push_back(row.value("title", "?"));
    for (HeatMap::Row& line : map.rows) {
      double found = kNone;
      for (const Json& each : list(row, key)) {
        if (name(each) == line.label) found = value(each);
      }
      line.values.push_back(found);
    }
  }
  return heat_map(head, map);
}

/// Where the grid's levels lie, in steps from zero.
std::vector<double> levels_of(const Json& step) {
  const double low = number(step, "qmin") - number(step, "zero_point");
  const double high = number(step, "qmax") - number(step, "zero_point");
  if (!std::isfinite(low) || !std::isfinite(high)) return {};
  const bool binary = number(step, "bits") == 1.0;
  if (binary || high - low > kMostLines) return {low, high};
  std::vector<double> levels;
  for (double level = low; level <= high + 0.5; level += 1.0) levels.push_back(level);
  return levels;
}

std::string scale_text(const Json& step) {
  const double low = number(step, "scale_low");
  const double high = number(step, "scale_high");
  if (!std::isfinite(low)) return "";
  return low == high ? cat("step ", static_cast<float>(low))
                     : cat("step ", static_cast<float>(low), " .. ", static_cast<float>(high));
}

GridHistogram histogram_of(const Json& step) {
  GridHistogram of;
  of.title = step.value("node", "?");
  of.text = cat(fixed(number(step, "bits"), 0), " bits, ", scale_text(step), ", SQNR ",
                fixed(number(step, "sqnr_db"), 1), " dB, ",
                fixed(number(step, "outside_percent"), 2), " % outside");
  for (const Json& count : list(step, "counts")) {
    of.counts.push_back(count.is_number() ? count.get<double>() : 0.0);
  }
  of.low = number(step, "low");
  of.high = number(step, "high");
  of.lines = levels_of(step);
  return of;
}

std::string run_histograms(const Json& row, std::size_t index, bool open) {
  std::string text;
  for (const bool weights : {true, false}) {
    std::vector<GridHistogram> all;
    for (const Json& step : list(row, "steps")) {
      if (step.value("is_weight", false) == weights) all.push_back(histogram_of(step));
    }
    const std::string id = cat(weights ? "weights-" : "activations-", index);
    text += histograms({id, weights ? "Weights" : "Activations",
                        "values / step of the grid; blue: what the codes reach, lines: levels; "
                        "height: square root of the count"},
                       all);
  }
  if (text.empty()) return "";
  return cat("<details", open ? " open" : "", "><summary>Histograms of ",
             escape_html(row.value("title", "?")), "</summary>", text, "</details>\n");
}

double percent_unique(const Json& codes) {
  return 100.0 * number(codes, "unique_filters") / number(codes, "filters");
}

}  // namespace

std::string layer_charts(const std::vector<Json>& layers) {
  std::string maps;
  maps += by_run(
      {"sqnr", "SQNR of every step",
       "dB: what a step reads against what it writes, inside the quantized network"},
      layers, "steps", "node", [](const Json& step) { return number(step, "sqnr_db"); }, 5.0, 45.0);
  maps +=
      by_run({"unique", "Different filters", "percent of the filters of one- and two-bit weights"},
             layers, "codes", "name", percent_unique, 0.0, 100.0);
  maps += by_run(
      {"zeros", "Zero weights", "percent of the codes of one- and two-bit weights"}, layers,
      "codes", "name", [](const Json& codes) { return number(codes, "zero_percent"); }, 0.0, 100.0);
  std::string text = maps.empty() ? "" : cat("<div class=\"charts\">\n", maps, "</div>\n");
  // The last model, mostly the one of fewest bits, is shown; the others open when asked.
  std::string others;
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const bool last = i + 1 == layers.size();
    (last ? text : others) += run_histograms(layers[i], i, last);
  }
  if (!others.empty()) {
    text += cat("<details class=\"group\"><summary>Histograms of the other models</summary>\n",
                others, "</details>\n");
  }
  return text;
}

}  // namespace bitloom::tools
