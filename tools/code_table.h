// The codes of one- and two-bit weights as a table: `inspect` of models and checkpoints.
// Comes from: quant/code_statistics.h. Goes to: inspect_command.cpp.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "bitloom/integer/model.h"
#include "bitloom/quant/code_statistics.h"

namespace bitloom::tools {

/// A layer or weight with its statistics.
struct CodeRow {
  std::string name;
  quant::CodeStatistics statistics;
  /// On disk, each output channel padded to whole bytes; none of checkpoints, which keep reals.
  std::optional<double> bits_per_weight;
};
using CodeRows = std::vector<CodeRow>;

/// Of the layers of a model whose weights are binary or ternary.
CodeRows code_rows(const integer::Model& model);
/// Of a checkpoint's weights.
CodeRows code_rows(const quant::LevelCodes& codes);

/// Columns weights, bits a weight, filters, unique, unique %, zeros %; a last row over all; ""
/// without rows.
std::string code_table(const CodeRows& rows);
/// [{"name", "weights", "bits_per_weight", "filters", "unique_filters", "zero_percent"}].
nlohmann::json code_json(const CodeRows& rows);

}  // namespace bitloom::tools
