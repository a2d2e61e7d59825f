// Lowering for devices without floating point: s32 biases and shifts (integer/fixed_point.h).
// Goes to: product_lowering.cpp, lower.cpp.
#pragma once

#include "bitloom/integer/model.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/chain.h"

namespace bitloom::deploy {

/// Tensors around a layer; residual may be nullptr. All but logits are codes.
struct FixedPointTensors {
  const integer::TensorInfo& source;
  const integer::TensorInfo* residual = nullptr;
  const integer::TensorInfo& output;
};

/// Mode, bias_s32 and shifts of a product whose weight codes and scales are there already.
/// @throws ConfigError naming the layer and the key of [quant] to set, unless batch norm is folded,
/// the weights have one scale, all scales are powers of two, and there are no zero points; for a
/// bias beyond 32 bits.
void fill_fixed_point(const quant::Chain& chain, const layers::ParameterStore& store,
                      const FixedPointTensors& tensors, integer::Layer& layer);

/// Mode and shifts of a stand-alone add of codes. @throws likewise.
void fill_fixed_point_add(const FixedPointTensors& tensors, integer::Layer& layer);

/// @throws ConfigError naming the first layer of the model that would compute with reals.
void require_integers_only(const integer::Model& model);

}  // namespace bitloom::deploy
