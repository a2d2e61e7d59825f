// What a comparison leaves in its folder for the page, beside rows.jsonl.
//
// epochs.jsonl of each trained run: trainers/train.cpp.
// layers.jsonl, a line for each run: what quantization does inside the model.
//   {"run": "qat_w4a4", "title": "qat w4a4", "images": 256,
//    "steps": [{"node", "is_weight", "quantizer", "bits", "qmin", "qmax", "zero_point",
//               "scale_low", "scale_high",     least and largest of the channels
//               "sqnr_db", "outside_percent",  null where they have no meaning
//               "low", "high", "counts"}],     of value / scale, bins of equal width
//    "codes": as code_table.h}                 one- and two-bit weights
// Comes from: compare_command.cpp. Goes to: report.h.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bitloom/trainers/steps.h"

namespace bitloom::tools {

/// Folder of the run behind a row: "float", "qat_w4a4".
std::string run_name(const nlohmann::json& row);

/// Rows of the epochs.jsonl of every run that has one, in order of `rows`, each with its "run". Of
/// an epoch that stands there twice (the run was killed between its row and its checkpoint) the
/// last. @throws FormatError for lines that are no JSON objects.
std::vector<nlohmann::json> read_epochs(const std::filesystem::path& folder,
                                        const std::vector<nlohmann::json>& rows);

/// One line of layers.jsonl.
nlohmann::json layers_row(const std::string& run, const std::string& title,
                          const trainers::StepsReport& report);

/// Rows of layers.jsonl; none where there is no such file. @throws as read_epochs().
std::vector<nlohmann::json> read_layers(const std::filesystem::path& folder);

}  // namespace bitloom::tools
