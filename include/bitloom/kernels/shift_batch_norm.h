// BNN's batch normalization by shifts, over NHWC reals. Plain loops.
// Comes from: layers/shift_batch_norm.
#pragma once

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// Per channel c over M = N*H*W values, AP2 the nearest power of two (power_of_two.h):
///   mean = sum x / M;  v = x - mean;  variance = sum v * AP2(v) / M (biased)
///   r = AP2(1 / sqrt(variance + epsilon));  h = v * r;  y = AP2(gamma) * h + beta
/// so that each product is a shift of its other factor. Backward, AP2 straight through:
///   dbeta = sum dy;  dgamma = sum dy * h;
///   dx = AP2(gamma) * r * (dy - dbeta / M - h * dgamma / M)
///
/// Shapes: x, y, dx, dy [N, C, H, W] or [N, C]; the others [C]. Sums: column_sums.h.
/// Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830, algorithm 3. Ours differs:
///   sums of M values are divided by M exactly.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
void shift_norm_statistics(ConstTensorView x, TensorView mean, TensorView variance) noexcept;

/// What normalizes a channel.
struct ShiftNormChannels {
  const float* mean = nullptr;
  const float* inverse = nullptr;  ///< r
  const float* factor = nullptr;   ///< AP2(gamma)
};

/// inverse = AP2(1 / sqrt(variance + epsilon)), factor = AP2(gamma), `channels` each.
void shift_norm_factors(const float* variance, const float* gamma, std::int64_t channels,
                        float epsilon, float* inverse, float* factor) noexcept;

void shift_norm(ConstTensorView x, const ShiftNormChannels& channels, const float* beta,
                TensorView y) noexcept;

/// dx may be dy, or empty.
void shift_norm_gradient(ConstTensorView x, const ShiftNormChannels& channels, ConstTensorView dy,
                         float* dgamma, float* dbeta, TensorView dx) noexcept;

}  // namespace bitloom::kernels
