// Rows in the formats of other tools.
// Goes to: bench_models.cpp, bench_suite.cpp.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "command.h"

namespace bitloom::tools {

/// A header and one line a row: every key whose value is a number, a word or a truth in some row,
/// in the order of their first appearance; lists (layers, plan) are left out; null is an empty
/// cell. Words with a comma, a quote or a line break are quoted as RFC 4180 has it.
std::string csv_text(const std::vector<nlohmann::json>& rows);

/// What Google Benchmark 1.7 writes with --benchmark_format=json, so that its compare.py and
/// trackers read it: one entry a row, "resnet50/ptq-static/batch:1/threads:2", real_time and
/// cpu_time the median in ms, p90 and p99 as counters. Rows without a latency are errors there.
nlohmann::json google_benchmark_json(const std::vector<nlohmann::json>& rows);

/// --csv FILE and --benchmark-json FILE, where they are given.
void write_other_formats(const Arguments& arguments, const std::vector<nlohmann::json>& rows);

}  // namespace bitloom::tools
