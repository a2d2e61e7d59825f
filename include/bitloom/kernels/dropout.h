// Dropout's random mask, applied to reals or codes. The mask is computed where it is used, forward
// and again backward, and never stored.
// Comes from: layers/dropout.
#pragma once

#include <cstdint>

#include "bitloom/core/random.h"
#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// Element i is kept where word i % 4 of block step * 2^32 + i / 4 of `random`, its upper 24 bits
/// as a number in [0, 1), is at least `ratio`: a function of (stream, step, i) alone, the same
/// whatever the threads and wherever a run was stopped. @pre at most 2^34 elements.
struct DropoutMask {
  RandomStream random;
  std::uint64_t step = 0;
  float ratio = 0.5F;  ///< share of the elements to drop, in [0, 1)
};

/// y = x / (1 - ratio) where kept, else 0; the factor is rounded once to f32. y may be x.
/// The gradient is the same function of dy.
void drop_reals(ConstTensorView x, const DropoutMask& mask, TensorView y) noexcept;

/// y = x where kept, else `zero_point`; u8 or s8. y may be x. What the codes stand for grows by
/// 1 / (1 - ratio) through their scale, which the caller keeps.
void drop_codes(ConstTensorView x, const DropoutMask& mask, std::int32_t zero_point,
                TensorView y) noexcept;

/// 1 / (1 - ratio).
float dropout_factor(float ratio);

}  // namespace bitloom::kernels
