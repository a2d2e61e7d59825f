// What a network of bf16 numbers does between its products: averages and sums, in f32, rounded
// once. Comes from: backends/onednn_bf16.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// y = (sum of the window's pixels inside the image) / count, count those pixels, or the window's
/// area where window.count_pad: sums in f32, row by row, then one division, then the rounding.
/// Shapes: source bf16 [N, C, H, W], destination [N, C, H', W'] bf16 or f32.
void average_bf16(const integer::Window& window, ConstTensorView source,
                  TensorView destination) noexcept;

/// y[i] = clipped(a[i] + b[i]), in f32, then the rounding. All of one shape; a and b bf16, y bf16
/// or f32; y may be the memory of either where it is bf16.
void add_bf16(ConstTensorView a, ConstTensorView b, const integer::Clip& clip,
              TensorView y) noexcept;

}  // namespace bitloom::kernels
