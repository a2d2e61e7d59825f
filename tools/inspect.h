// What inspect finds in files: numbers for its tables and rows.
// Goes to: inspect_command.cpp (one file), inspect_difference.cpp (two).
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bitloom/core/archive.h"
#include "bitloom/integer/model.h"
#include "command.h"

namespace bitloom::tools {

/// Least and largest value of an f32 tensor as "0.0012 .. 0.034"; "-" for others.
std::string range_text(const Tensor& tensor);

/// Percent of a layer's weight codes at either end of their range: clipped, or nearly; NaN where
/// the weights are no codes.
double ends_percent(const integer::Layer& layer);

/// Bytes that each layer of an exported model's archive takes, without HDF5's own.
std::vector<std::int64_t> layer_bytes(const Archive& archive, std::size_t layers);

/// One fake_quant node of a checkpoint.
struct QuantizerRow {
  std::string node;
  std::string quantizer;         ///< "lsq"; "shares relu1.q"
  std::string codes;             ///< "4 bits, -8 .. 7"
  std::string scale;             ///< least .. largest over the channels
  std::string reals;             ///< what the codes reach: scale * (qmin - z) .. scale * (qmax - z)
  double outside_percent = 0.0;  ///< of a weight's values beyond its grid; NaN where not a weight
};
std::vector<QuantizerRow> quantizer_rows(const Archive& checkpoint, const std::string& graph_text);

/// inspect FILE OTHER. @throws ConfigError unless both are checkpoints or both exported models.
void print_difference(const Arguments& arguments, const std::filesystem::path& first,
                      const std::filesystem::path& second);

}  // namespace bitloom::tools
