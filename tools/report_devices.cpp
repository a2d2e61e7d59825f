#include "report_devices.h"

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/io/json_rows.h"
#include "bitloom/io/whole_file.h"
#include "device_explanations.h"
#include "device_rows.h"
#include "embedded.h"
#include "global_options.h"
#include "html.h"
#include "report.h"
#include "report_charts.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

std::string ms_label(double ms) {
  return std::isfinite(ms) ? cat(fixed(ms, ms < 10 ? 2 : 1), " ms") : "not measured";
}

std::string bytes_cell(double bytes) {
  return std::isfinite(bytes) ? bytes_text(static_cast<std::int64_t>(bytes)) : "-";
}

std::string truth_cell(const Json& row, const char* key, const char* yes) {
  const auto found = row.find(key);
  return found != row.end() && found->is_boolean() && found->get<bool>() ? yes : "";
}

/// Distinct words of a key, joined.
std::string all_words(const std::vector<Json>& rows, const char* key) {
  std::vector<std::string> words;
  for (const Json& row : rows) {
    const std::string word = row_word(row, key);
    if (!word.empty() && std::find(words.begin(), words.end(), word) == words.end()) {
      words.push_back(word);
    }
  }
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

/// The published chart: original against quantized inference time of each network.
std::string time_chart(const DeviceRows& device, std::size_t number) {
  std::vector<BarGroup> groups;
  for (const NetworkRows& network : device.networks) {
    BarGroup group{.label = network.network, .bars = {}};
    for (const Json* row : network.rows) {
      if (!row_word(*row, "same_as").empty()) continue;
      const double ms = row_number(*row, "latency_ms_p50");
      const std::string contender = contender_of(*row);
      group.bars.push_back({.label = contender == "float" ? "original (float)" : contender,
                            .value = ms,
                            .text = ms_label(ms) + truth_cell(*row, "noisy", ", noisy"),
                            .color = method_color(contender)});
    }
    groups.push_back(std::move(group));
  }
  return grouped_bar_chart({.id = cat("time-", number),
                            .title = cat("Original against quantized: ", device.name),
                            .hint = "median inference time in ms; shorter is better"},
                           groups);
}

/// Rows: contenders of each device; columns: networks.
std::string speedup_map(const std::vector<DeviceRows>& devices) {
  HeatMap map;
  for (const DeviceRows& device : devices) {
    for (const NetworkRows& network : device.networks) {
      if (std::find(map.columns.begin(), map.columns.end(), network.network) == map.columns.end()) {
        map.columns.push_back(network.network);
      }
    }
  }
  for (const DeviceRows& device : devices) {
    for (const std::string& contender : contenders_of(device)) {
      if (contender == "float" || contender == "qat") continue;
      HeatMap::Row line{.label = cat(device.isa, ", ", contender), .values = {}};
      if (devices.size() > 1) line.label = cat(device.name, ": ", contender);
      line.values.assign(map.columns.size(), kNaN);
      for (const NetworkRows& network : device.networks) {
        const Json* row = network.find(contender);
        const auto column = std::find(map.columns.begin(), map.columns.end(), network.network);
        if (row == nullptr) continue;
        line.values[static_cast<std::size_t>(column - map.columns.begin())] = network.speedup(*row);
      }
      map.rows.push_back(std::move(line));
    }
  }
  map.low = 0.5;
  map.high = 4.0;
  map.decimals = 2;
  return heat_map({.id = "speedup",
                   .title = "Speed-up",
                   .hint = "float's median over the row's on the same device; below 1 is slower"},
                  map);
}

TextTable number_table(const std::vector<DeviceRows>& devices) {
  TextTable table{{"network", "method", "device", "p50 ms", "p90 ms", "p99 ms", "runs", "speed-up",
                   "size", "peak memory", "resident", "first ms", "parity", "remark"},
                  {}};
  for (const DeviceRows& device : devices) {
    for (const NetworkRows& network : device.networks) {
      for (const Json* row : network.rows) {
        std::string remark = truth_cell(*row, "noisy", "noisy");
        for (const char* key : {"reason", "error"}) {
          if (!row_word(*row, key).empty()) remark = row_word(*row, key);
        }
        if (!row_word(*row, "same_as").empty()) remark = "integers of " + row_word(*row, "same_as");
        const double parity = row_number(*row, "parity_identical");
        table.rows.push_back({network.network, contender_of(*row), device.name,
                              fixed(row_number(*row, "latency_ms_p50"), 3),
                              fixed(row_number(*row, "latency_ms_p90"), 3),
                              fixed(row_number(*row, "latency_ms_p99"), 3),
                              fixed(row_number(*row, "runs"), 0), fixed(network.speedup(*row), 2),
                              bytes_cell(row_number(*row, "size_bytes")),
                              bytes_cell(row_number(*row, "peak_memory_bytes")),
                              bytes_cell(row_number(*row, "resident_memory_bytes")),
                              fixed(row_number(*row, "first_inference_ms"), 0),
                              std::isfinite(parity) ? cat(fixed(100.0 * parity, 0), " %") : "-",
                              remark.empty() ? "-" : remark});
      }
    }
  }
  return table;
}

/// Time by kind of kernel; every network of a device has a chart of its own.
std::string kind_charts(const std::vector<DeviceRows>& devices) {
  std::string text;
  std::vector<std::string> kinds;  // one colour each, whatever the chart
  std::size_t number = 0;
  for (const DeviceRows& device : devices) {
    for (const NetworkRows& network : device.networks) {
      std::vector<StackedBar> bars;
      for (const Json* row : network.rows) {
        StackedBar bar{.label = contender_of(*row), .parts = {}, .text = ""};
        double total = 0.0;
        for (const auto& [kind, ms] : kind_times(*row)) {
          auto known = std::find(kinds.begin(), kinds.end(), kind);
          if (known == kinds.end()) known = kinds.insert(kinds.end(), kind);
          bar.parts.push_back(
              {.label = kind,
               .value = ms,
               .text = ms_label(ms),
               .color = series_color(static_cast<std::size_t>(known - kinds.begin()))});
          total += ms;
        }
        bar.text = ms_label(total);
        if (!bar.parts.empty()) bars.push_back(std::move(bar));
      }
      text += stacked_bar_chart(
          {.id = cat("kinds-", ++number),
           .title = cat(network.network, ": where the time goes"),
           .hint = cat("ms of the layers by kind of kernel, with a clock; ", device.name)},
          bars);
    }
  }
  return text;
}

/// Kinds of kernels of one device, by operations for each byte moved, with the roofs over them.
std::string roofline_chart(const DeviceRows& device, std::size_t number) {
  std::vector<Series> series;
  std::set<std::string> roofs;
  double least = 1e9, most = 0.0;
  const Json* peaks = nullptr;
  for (const std::string& contender : contenders_of(device)) {
    Series points{
        .name = contender, .color = method_color(contender), .points = {}, .joined = false};
    for (const NetworkRows& network : device.networks) {
      const Json* row = network.find(contender);
      if (row == nullptr || !row->contains("layers")) continue;
      if (row->contains("peaks")) peaks = &row->at("peaks");
      for (const Json& layer : row->at("layers")) {
        const double gflop = row_number(layer, "gflop");
        const double ms = row_number(layer, "ms");
        const double mb = row_number(layer, "mb");
        if (!(gflop > 0.0) || !(ms > 0.0) || !(mb > 0.0)) continue;
        const double intensity = 1e3 * gflop / mb;
        least = std::min(least, intensity);
        most = std::max(most, intensity);
        points.points.push_back({.x = intensity,
                                 .y = 1e3 * gflop / ms,
                                 .note = cat(network.network, " ", row_word(layer, "layer"), ", ",
                                             row_word(layer, "implementation"))});
      }
    }
    if (!points.points.empty()) series.push_back(std::move(points));
  }
  if (peaks == nullptr || series.empty()) return "";
  const double rate = row_number(*peaks, "copy_gb_per_s");
  for (const auto& [key, name] : {std::pair{"int8_gop_per_s", "roof of int8"},
                                  std::pair{"f32_gflop_per_s", "roof of float"}}) {
    const double peak = row_number(*peaks, key);
    if (!std::isfinite(peak) || !std::isfinite(rate)) continue;
    Series roof{.name = name, .color = "#5b6675", .points = {}, .dashed = true};
    constexpr int kSteps = 48;
    for (int i = 0; i <= kSteps; ++i) {
      const double x = least * std::pow(most / least, static_cast<double>(i) / kSteps);
      roof.points.push_back({.x = x, .y = std::min(peak, rate * x)});
    }
    series.push_back(std::move(roof));
  }
  return line_chart(
      {.id = cat("roofline-", number),
       .title = cat("Roofline: ", device.name),
       .hint = "one point a layer; roofs are this machine's measured peaks"},
      {.x_label = "operations for each byte moved", .y_label = "Gop/s", .log_x = true}, series);
}

std::vector<std::string> explanations(const DeviceRows& device) {
  std::vector<std::string> all;
  for (const NetworkRows& network : device.networks) {
    for (std::string& sentence : explanations(device, network)) all.push_back(std::move(sentence));
  }
  return all;
}

std::string explanation_section(const std::vector<DeviceRows>& devices) {
  std::string text;
  for (const DeviceRows& device : devices) {
    std::string items;
    for (const std::string& sentence : explanations(device)) {
      items += cat("<li>", escape_html(sentence), "</li>\n");
    }
    if (items.empty()) continue;
    text += cat("<h3>", escape_html(device.name), "</h3>\n<ul>\n", items, "</ul>\n");
  }
  if (text.empty()) return "";
  return cat("<section id=\"why\"><h2>Why it helped, or did not</h2>\n", text, "</section>\n");
}

std::string machine_facts(const std::vector<Json>& rows) {
  std::vector<std::vector<std::string>> facts;
  for (const auto& [key, name] :
       {std::pair{"device", "CPU"}, std::pair{"cpu_flags", "instructions"},
        std::pair{"governor", "governor"}, std::pair{"commit", "commit"},
        std::pair{"parity_checked", "parity"}}) {
    const std::string words = all_words(rows, key);
    if (!words.empty()) facts.push_back({name, words});
  }
  const auto range = [&](const char* key, const char* name, const char* unit) {
    double low = kNaN, high = kNaN;
    for (const Json& row : rows) {
      low = std::fmin(low, row_number(row, key));
      high = std::fmax(high, row_number(row, key));
    }
    if (std::isfinite(low))
      facts.push_back({name, cat(fixed(low, 2), " to ", fixed(high, 2), unit)});
  };
  range("mhz_before", "frequency before", " MHz");
  range("mhz_after", "frequency after", " MHz");
  range("load_average", "load average", "");
  range("others_cpu_share", "cores' time used by others", " of 1");
  return cat("<section class=\"facts\"><h2>Measured on</h2><div class=\"scroll\">",
             html_table({"", ""}, facts), "</div></section>\n");
}

/// What tables and charts are sorted by. @throws FormatError if a row lacks it.
void require_row(const Json& row, const std::string& place) {
  const auto require = [&](bool holds, const char* expected) {
    if (holds) return;
    throw FormatError({place, expected, row.dump(-1, ' ', false, Json::error_handler_t::replace),
                       "take rows of bench --suite or of tools/peers/inference.py"});
  };
  for (const char* key : {"network", "device", "isa"}) {
    require(!row_word(row, key).empty(), "texts 'network', 'device' and 'isa'");
  }
  require(!contender_of(row).empty(), "a text 'method' or 'contender'");
  const auto layers = row.find("layers");
  require(layers == row.end() || layers->is_null() || layers->is_array(), "a list 'layers'");
}

std::vector<Json> rows_of(const fs::path& path) {
  const fs::path file = fs::is_directory(path) ? path / "rows.jsonl" : path;
  std::vector<Json> rows = io::read_rows(file);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    require_row(rows[i], cat(file.string(), ", row ", i + 1));
  }
  return rows;
}

}  // namespace

std::string devices_html(const std::vector<Json>& rows) {
  const std::vector<DeviceRows> devices = by_device(rows);
  std::string body;
  std::size_t number = 0;
  for (const DeviceRows& device : devices) body += time_chart(device, ++number);
  body += speedup_map(devices);
  body += explanation_section(devices);
  const TextTable table = number_table(devices);
  body += cat("<section><h2>Numbers</h2>\n<div class=\"scroll\">",
              html_table(table.header, table.rows, true), "</div></section>\n");
  body += cat("<div class=\"charts\">", kind_charts(devices), "</div>\n");
  number = 0;
  for (const DeviceRows& device : devices) body += roofline_chart(device, ++number);
  body += machine_facts(rows);
  return report_document(
      {.title = "bitloom: inference, device by device",
       .machine = all_words(rows, "device"),
       .provenance = cat("bitloom ", version(), ", commit ", all_words(rows, "commit"))},
      body);
}

std::string devices_text(const std::vector<Json>& rows) {
  const std::vector<DeviceRows> devices = by_device(rows);
  std::string text = format_table(number_table(devices)) + "\n";
  for (const DeviceRows& device : devices) {
    const std::vector<std::string> sentences = explanations(device);
    if (!sentences.empty()) text += device.name + ":\n";
    for (const std::string& sentence : sentences) text += "  " + sentence + "\n";
  }
  return text;
}

int run_report(const Arguments& arguments) {
  if (arguments.positionals.empty()) {
    throw ConfigError({"bitloom report", "at least one DIR", "none",
                       "bitloom bench --suite seven --out DIR writes one"});
  }
  std::vector<Json> rows;
  for (const std::string& word : arguments.positionals) {
    for (Json& row : rows_of(word)) rows.push_back(std::move(row));
  }
  if (rows.empty()) {
    throw FormatError(
        {arguments.positionals.front(), "rows of bench --suite", "none", "check the path"});
  }
  const fs::path first = arguments.positionals.front();
  const fs::path out = arguments.value(
      "out", ((fs::is_directory(first) ? first : first.parent_path()) / "devices.html").string());
  io::write_whole_file(out, devices_html(rows));
  write_json_option(arguments, rows);
  say(arguments, devices_text(rows));
  say(arguments, cat("report: ", out.string(), "\n"));
  return kExitDone;
}

}  // namespace bitloom::tools
