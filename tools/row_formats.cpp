#include "row_formats.h"

#include <algorithm>
#include <ctime>
#include <iostream>
#include <nlohmann/json.hpp>
#include <thread>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;

std::string cell(const Json& value) {
  if (value.is_null()) return "";
  if (!value.is_string()) return value.dump();
  const std::string text = value.get<std::string>();
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char byte : text) {
    if (byte == '"') quoted += '"';
    quoted += byte;
  }
  return quoted + "\"";
}

std::string time_now() {
  const std::time_t now = std::time(nullptr);
  std::tm utc{};
  gmtime_r(&now, &utc);
  char text[32];
  const std::size_t length = std::strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S+00:00", &utc);
  return {text, length};
}

Json entry(const Json& row) {
  const std::string name =
      cat(row.value("network", "?"), "/", row.value("method", "?"),
          "/batch:", row.value("batch", 1), "/threads:", row.value("threads", 1));
  Json made = {{"name", name},     {"run_name", name},      {"run_type", "iteration"},
               {"repetitions", 1}, {"repetition_index", 0}, {"threads", 1},
               {"time_unit", "ms"}};
  const auto p50 = row.find("latency_ms_p50");
  if (p50 == row.end() || !p50->is_number()) {
    made["error_occurred"] = true;
    made["error_message"] = row.value("reason", "not measured");
    return made;
  }
  made["iterations"] = row.value("runs", std::int64_t{1});
  made["real_time"] = *p50;
  made["cpu_time"] = *p50;
  for (const char* key : {"latency_ms_p90", "latency_ms_p99", "size_bytes", "peak_memory_bytes"}) {
    if (row.contains(key) && row.at(key).is_number()) made[key] = row.at(key);
  }
  return made;
}

void write(const std::string& path, const std::string& text) {
  if (path == "-") {
    std::cout << text << std::flush;
  } else {
    io::write_whole_file(path, text);
  }
}

}  // namespace

std::string csv_text(const std::vector<Json>& rows) {
  std::vector<std::string> keys;
  for (const Json& row : rows) {
    for (const auto& [key, value] : row.items()) {
      const bool known = std::find(keys.begin(), keys.end(), key) != keys.end();
      if (!known && value.is_primitive() && !value.is_null()) keys.push_back(key);
    }
  }
  std::string text;
  for (const std::string& key : keys) text += (text.empty() ? "" : ",") + cell(key);
  text += "\n";
  for (const Json& row : rows) {
    std::string line;
    for (const std::string& key : keys) {
      if (&key != &keys.front()) line += ",";
      if (row.contains(key)) line += cell(row.at(key));
    }
    text += line + "\n";
  }
  return text;
}

Json google_benchmark_json(const std::vector<Json>& rows) {
  Json context = {{"date", time_now()},
                  {"executable", "bitloom"},
                  {"num_cpus", std::thread::hardware_concurrency()},
                  {"library_build_type", "release"},
                  {"caches", Json::array()}};
  if (!rows.empty()) {
    const Json& row = rows.front();
    for (const char* key : {"device", "isa", "commit", "cpu_flags"}) {
      if (row.contains(key)) context[key] = row.at(key);
    }
    if (row.contains("load_average")) context["load_avg"] = Json::array({row.at("load_average")});
  }
  Json entries = Json::array();
  for (const Json& row : rows) entries.push_back(entry(row));
  return {{"context", context}, {"benchmarks", entries}};
}

void write_other_formats(const Arguments& arguments, const std::vector<Json>& rows) {
  if (arguments.has("csv")) write(arguments.value("csv"), csv_text(rows));
  if (arguments.has("benchmark-json")) {
    write(arguments.value("benchmark-json"), google_benchmark_json(rows).dump(1) + "\n");
  }
}

}  // namespace bitloom::tools
