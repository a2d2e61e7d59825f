// Pooling of codes (u8, s8) in NHWC, for training: the forward works on codes, gradients are reals.
// Comes from: layers/max_pool, layers/avg_pool, where their input edge
// carries codes.
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

/// dx = sum of dy over the windows whose argmax is the pixel, in f32; each f32 or bf16. dy is
/// destination_gradient + second_gradient, which is empty or of the same type.
/// Sums in the order of the windows: the same bits whatever the threads.
void max_pool_gradient(ConstTensorView destination_gradient, ConstTensorView second_gradient,
                       const integer::Window& window, const std::uint8_t* argmax,
                       TensorView source_gradient) noexcept;

/// y = round_half_even(sum / count) over the pixels of each window that lie inside the image, in
/// integers: one rounding, none in float. Padding counts neither in sum nor in count; with
/// window.count_pad it adds the code of real 0, `zero_point`, and count is the window's area.
/// Shapes: source [N, C, H, W]; destination pool_output() of the same type.
/// @pre window.pad < kernel_h and kernel_w: each window has a pixel.
void avg_pool_codes(ConstTensorView source, const integer::Window& window, TensorView destination,
                    std::int32_t zero_point = 0) noexcept;

}  // namespace bitloom::kernels
