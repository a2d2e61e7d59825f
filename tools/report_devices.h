// Rows of several devices, caps and networks as one page: what bench --suite and report write.
// Comes from: bench_suite.h's rows, tools/peers/inference.py's. Goes to: bench_suite.cpp,
// `bitloom report`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "command.h"

namespace bitloom::tools {

/// A page that opens without a network: for each device a chart of original against quantized
/// inference time, speed-up as a heat map, all numbers as a sortable table, each network's time by
/// kind of kernel, where its kernels stand under the machine's roof, and in words why quantization
/// helped or did not (device_explanations.h). A device is a CPU under one cap with one number of
/// threads and one batch. Every text is escaped; rows without a latency give their reason.
std::string devices_html(const std::vector<nlohmann::json>& rows);

/// The table of the numbers for the terminal, and the explanations.
std::string devices_text(const std::vector<nlohmann::json>& rows);

/// bitloom report DIR...: rows.jsonl of each folder (or that file itself) into one page.
int run_report(const Arguments& arguments);

}  // namespace bitloom::tools
