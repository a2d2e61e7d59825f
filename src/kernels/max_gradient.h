// The gradient of one pixel under a max pooling. Goes to: pool_codes.cpp.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// The windows that hold the pixel.
struct MaxGradientPixel {
  const void* gradient;                                  // dy of the first
  const void* second;                                    // what is added to it, or nullptr
  const std::uint8_t* argmax;                            // of the first
  std::int64_t rows, columns;                            // of windows
  std::int64_t row_step, column_step;                    // elements between them
  std::int64_t position;                                 // of the pixel in the first
  std::int64_t position_row_step, position_column_step;  // to be taken from it
  DType from, to;                                        // of dy and dx: kF32 or kBf16
};

/// dx[c] = sum of dy[c] over the windows whose argmax[c] is the pixel's position, in f32 and in
/// their order; with Google Highway. @pre apply_highway_cap().
void max_gradient_pixel(const MaxGradientPixel& windows, std::int64_t channels, void* dx) noexcept;

}  // namespace bitloom::kernels
