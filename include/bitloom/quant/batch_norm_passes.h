// What quantization does to batch norm before and while it trains: fold it, or freeze it.
// Comes from: a float graph (fold), any graph (freeze). Goes to: trainers, train/loop.h's stages.
#pragma once

#include <cstdint>
#include <string>

#include "bitloom/integer/requantize.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::quant {

/// What stands between a product's sums and its quantizer: batch norm by its running statistics,
/// and a bias. Pointers are live, nullptr where there is none.
struct ChannelAffines {
  const float* gamma = nullptr;
  const float* beta = nullptr;
  const float* mean = nullptr;
  const float* variance = nullptr;
  const float* bias = nullptr;
  double epsilon = 1e-5;
  bool shifts = false;  ///< of shift_batch_norm: both factors of the slope are powers of two

  /// 1 / sqrt(variance + epsilon). @pre there is a batch norm.
  double inverse_deviation(std::int64_t channel) const;
  /// slope = gamma / sqrt(variance + epsilon) or 1 (shifts: kernels/shift_batch_norm.h), offset =
  /// beta - mean * slope + bias * slope.
  integer::ChannelAffine at(std::int64_t channel) const;
};

/// Those of a product whose bias, if any, is "<product>.bias"; batch_norm may be nullptr.
ChannelAffines channel_affines(const std::string& product, const layers::Node* batch_norm,
                               const layers::ParameterStore& store);

/// Multiplies each batch norm behind a conv2d or linear (and read by it alone) into weight and
/// bias, with its running statistics, and takes the node out:
///   W'[o] = W[o] * slope[o],  bias'[o] = offset[o]  of ChannelAffines, rounded once.
/// Quantization then sees W': the classical fold of per-tensor scales and of integer-only hardware
/// with one multiplier a layer. What is trained afterwards are W' and bias', so that training and
/// export have the same weights: the statistics are frozen from here on. Bitloom does not need the
/// fold (requantization has one multiplier a channel); one scale per channel of W or of W' is the
/// same grid.
/// Source: Jacob et al., arXiv:1712.05877, section 3.2, in the variant with frozen statistics of
///   Krishnamoorthi, arXiv:1806.08342, section 3.2.2. Ours differs: they keep gamma and var as
///   parameters and fold at every step; here the fold is done once.
/// @throws ConfigError naming the node if a weight with batch norm has a second reader.
layers::Graph fold_batch_norm(const layers::Graph& graph, layers::ParameterStore& store);

/// frozen=1 on every batch_norm node: in training too it normalizes by its running statistics,
/// which keep still; gamma and beta go on learning. Forward then differs from the exported layer in
/// rounding alone.
/// Source: Krishnamoorthi, arXiv:1806.08342, section 3.2.2.
layers::Graph freeze_batch_norm(const layers::Graph& graph);

}  // namespace bitloom::quant
