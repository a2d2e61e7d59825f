// fixed_point.h over the channels of one pixel.
// Goes to: reference.cpp.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// What follows the accumulators of one fixed-point product. No member function uses a float but
/// for logits, which are v * step.
struct FixedPointTarget {
  const std::int32_t* bias = nullptr;
  std::int64_t channels = 0;
  int source_shift = 0;
  int residual_shift = 0;
  int right_shift = 0;
  CodeRange range;
  float step = 1.0F;  ///< of logits
  ConstTensorView residual;
  TensorView out;

  /// acc [O] of output pixel `index` (batch, y, x in order).
  void take(std::int64_t index, const std::int32_t* acc) const noexcept;
};

FixedPointTarget fixed_point_target(const Model& model, const Layer& layer,
                                    ConstTensorView residual, TensorView out);

/// A stand-alone add of codes.
void add_fixed_point(const Model& model, const Layer& layer, ConstTensorView a,
                     ConstTensorView residual, TensorView out);

}  // namespace bitloom::integer
