// Pooling of codes (u8, s8) in NHWC, for training: the forward works on codes, the gradient is f32.
// Comes from: layers/max_pool, layers/global_avg_pool, where their input edge carries codes.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Largest window whose positions fit the u8 index of max_pool_codes.
inline constexpr std::int64_t kMaxPoolWindow = 256;

/// y = the largest code of each window; padding never wins. Exact for any scale > 0: codes order
/// as the reals they stand for.
/// argmax (unless null): u8 of y's shape, position ky * kernel_w + kx of the first largest code.
/// Shapes: source [N, C, H, W]; destination pool_output(). @pre window area <= kMaxPoolWindow.
void max_pool_codes(ConstTensorView source, const integer::Window& window, TensorView destination,
                    std::uint8_t* argmax) noexcept;

/// dx[position of argmax] += dy over all windows, dx = 0 elsewhere.
/// Sums in the order of the windows: the same bits whatever the threads.
void max_pool_gradient(ConstTensorView destination_gradient, const integer::Window& window,
                       const std::uint8_t* argmax, TensorView source_gradient) noexcept;

/// y[n, c] = round_half_even(sum of codes / (H*W)), in integers: one rounding, none in float.
/// Shapes: source [N, C, H, W], destination [N, C, 1, 1] of the same type.
void global_avg_pool_codes(ConstTensorView source, TensorView destination) noexcept;

/// dx = dy / (H*W), f32; rounding counts as the identity (straight-through).
void global_avg_pool_gradient(ConstTensorView destination_gradient,
                              TensorView source_gradient) noexcept;

}  // namespace bitloom::kernels
