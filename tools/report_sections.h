// Which charts the page of a comparison has, and what of the rows they show.
// Comes from: rows.jsonl, the runs' epochs.jsonl, layers.jsonl. Goes to: report.cpp.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace bitloom::tools {

/// Bars of error, latency, size and memory; accuracy against bits and against size; widths of the
/// layers where they differ from layer to layer.
std::string overview_charts(const std::vector<nlohmann::json>& rows);

/// Loss, validation accuracy and changed codes (of few-bit weights) over epochs, a line for a run.
std::string training_charts(const std::vector<nlohmann::json>& epochs);

/// SQNR of every quantization step, codes of few-bit weights, and for each run its histograms of
/// weights and activations with their grids.
std::string layer_charts(const std::vector<nlohmann::json>& layers);

}  // namespace bitloom::tools
