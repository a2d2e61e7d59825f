// From s32 accumulators to reals or codes: the one formula every backend must give, bit for bit.
//
//   t = float(acc) * m[o];  t = t + b[o]           two f32 roundings, never fused
//   t = fma(float(r - z_r), s_r / s_y, t)          residual, always fused
//   clip to [low, high];  round half to even
//
// m[o] = s_x * s_w[o] / s_y and b[o] = bias[o] / s_y + z_y are computed in double by
// `fold_channel`, rounded once, and stored in the model; no backend recomputes them. low and high
// are codes: those of the output's format, narrowed by the layer's activation function
// (affine.h: clipped_range), so a ReLU is low = z_y. An f32 output takes t, clipped to the reals.
// Comes from: deploy. Goes to: integer/reference.h, kernels.
#pragma once

#include <cmath>
#include <cstdint>

#include "bitloom/integer/affine.h"

namespace bitloom::integer {

/// Batch norm (or nothing) between a convolution's real result and the quantizer, one channel.
struct ChannelAffine {
  double slope = 1.0;   ///< gamma / sqrt(var + eps)
  double offset = 0.0;  ///< beta - mean * slope + bias * slope
};

/// Scales around one quantized layer, one output channel.
struct ChannelScales {
  double source = 1.0;                      ///< s_x
  double weight = 1.0;                      ///< s_w[o]
  double destination = 1.0;                 ///< s_y; 1 for a real (f32) destination
  std::int32_t destination_zero_point = 0;  ///< added to b
};

/// m and b of one channel, f32 as stored.
struct FoldedChannel {
  float multiplier = 0.0F;
  float bias = 0.0F;
};

FoldedChannel fold_channel(const ChannelScales& scales, const ChannelAffine& affine);

/// s_r / s_y: the quotient in double, rounded once.
inline float scale_ratio(float numerator, float denominator) {
  return static_cast<float>(static_cast<double>(numerator) / static_cast<double>(denominator));
}

/// Steps 1 and 2. |acc| beyond 2^24 is rounded by the conversion to f32, as everywhere.
inline float scale_accumulator(std::int32_t acc, float multiplier, float bias) {
  const float product = static_cast<float>(acc) * multiplier;
  return product + bias;  // -ffp-contract=off keeps the two roundings apart
}

/// Step 3. `code` is the residual's code, `ratio` = s_r / s_y.
inline float add_residual(float t, std::int32_t code, std::int32_t zero_point, float ratio) {
  return std::fma(static_cast<float>(code - zero_point), ratio, t);
}

}  // namespace bitloom::integer
