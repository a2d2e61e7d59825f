// What the codes of weights are like: filters that repeat, zeros, and codes that change.
// Comes from: graphs with fake_quant nodes, exported layers. Goes to: trainers (epochs.jsonl),
// tools (inspect).
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::quant {

struct CodeStatistics {
  std::int64_t weights = 0;
  /// Kernels [KH, KW], one of each output and input channel; rows [I] of [O, I] and of 1x1 kernels.
  std::int64_t filters = 0;
  /// Different ones; a filter and its negative are one, since the result of one is that of the
  /// other with another sign. Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830,
  /// section 4.2, which reports 42 % on its CIFAR-10 network.
  std::int64_t unique_filters = 0;
  double zero_share = 0.0;  ///< of the weights whose code is 0

  double unique_share() const {
    return filters == 0 ? 0.0 : static_cast<double>(unique_filters) / static_cast<double>(filters);
  }
};

/// codes: s8 [O, I, KH, KW] or [O, I].
CodeStatistics code_statistics(ConstTensorView codes);

/// Codes of the weights on grids of one and two bits, by name of the weight.
using LevelCodes = std::map<std::string, Tensor>;
LevelCodes level_codes(const layers::Graph& graph, const layers::ParameterStore& store);

/// Share of all codes of `after` that differ from `before` ("sign flips" of binary weights);
/// weights that `before` lacks are left out; 0 where nothing is compared.
double changed_share(const LevelCodes& before, const LevelCodes& after);

}  // namespace bitloom::quant
