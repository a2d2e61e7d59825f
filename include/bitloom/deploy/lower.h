// From a trained graph to an exported model: batch norm absorbed, scales fixed, layers fused.
// Comes from: quant (graph with fake_quant nodes) or layers (float graph). Goes to:
// integer/model.h, backends.
#pragma once

#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::deploy {

/// What the model carries besides its layers.
struct LowerOptions {
  std::string network;
  std::string method;       ///< "float", "ptq-static", "ptq-dynamic", "ptq-weight-only", "qat"
  std::string profile;      ///< "" for float and ptq-weight-only
  std::string config_text;  ///< resolved config
  ConstTensorView normalization;  ///< f32 [C, 256]: pixel to the network's real input
};

/// Lowers a graph. Each chain (quant/chain.h) becomes one layer: static if its source and its
/// weight are codes, else float. The clip of a chain narrows its codes (integer/affine.h:
/// clipped_range); dropout is left out; a concat's inputs must be codes of one grid, or reals.
/// Static layers follow integer/requantize.h:
///   m[o] = s_x * s_w[o] * slope[o] / s_y,  b[o] = offset[o] / s_y + z_y,
///   slope = gamma / sqrt(var + eps),  offset = beta - mean * slope + bias * slope,
/// in double, rounded once; weight codes are those of training. Float layers have slope multiplied
/// into their weights. The input's fake_quant node becomes the pixel table.
/// Methods ptq-dynamic and ptq-weight-only have fake_quant nodes on weights alone: their products
/// become dynamic (source u8 where it cannot be negative, else what the profile gives signed
/// activations) or weight-only, with m[o] = s_w[o] * slope[o] and b[o] = offset[o].
/// Graphs with binary or ternary grids may hold more: a batch norm, a quantizer or both where no
/// chain holds them become `affine` (mode float where reals come out); a static product may add an
/// f32 residual and give reals; a quantizer behind a real product or add stands alone; prelu,
/// rprelu, k_map and scale_map are layers of reals. conv > max_pool > batch_norm > sign becomes a
/// convolution to signs and a pool of signs, which takes the lowest in channels whose slope is
/// negative. An rsign quantizer's thresholds go into b.
/// @throws NumericError for a parameter that is not finite; ConfigError naming the node for a
///         graph that has no exported form (a layer that would silently stay float, a concat of two
///         grids).
integer::Model lower(const layers::Graph& graph, const layers::ParameterStore& store,
                     const LowerOptions& options);

}  // namespace bitloom::deploy
