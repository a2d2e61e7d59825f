// Means of windows of NHWC reals in training, and the gradient of means of reals and of codes, with
// Google Highway. Comes from: layers/avg_pool.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bitloom/core/shape.h"
#include "bitloom/integer/model.h"
#include "bitloom/kernels/gradient_terms.h"

namespace bitloom::kernels {

/// y[n, k * C + c, h, w] = (sum of x[n, c] over the pixels of the window inside the image) / count
///                         for k of 0 .. repeat - 1
/// count: those pixels, or with window.count_pad the window's area. Sums in f32, row by row.
///
/// Shapes: x [N, C, H, W]; y [N, repeat * C, H', W'] with pool_output()'s H' and W'.
/// Planned once; a call allocates nothing.
class AveragePool {
 public:
  /// @pre pool_output() takes source and window.
  AveragePool(const Shape& source, const integer::Window& window, std::int64_t repeat);

  void forward(const float* x, float* y) const noexcept;
  /// dx = sum over the windows that hold the pixel of (sum over k of dy) / count, the quotient as a
  /// product with f32(1 / count); rounding of codes counts as the identity (straight-through). Sums
  /// in f32, down and then along: the same bits whatever the threads. scratch_bytes() of scratch,
  /// 64-byte aligned.
  void backward(const OutputGradient& dy, const InputGradient& dx,
                std::byte* scratch) const noexcept;
  std::size_t scratch_bytes() const;  ///< for the threads of now

  /// A run of pixels or windows along one axis.
  struct Run {
    std::int64_t first, count;
  };
  /// What the passes read.
  struct Geometry {
    std::int64_t images, channels, repeat;
    std::int64_t height, width, rows, columns;     ///< of the source; of the destination
    std::vector<Run> pixel_rows, pixel_columns;    ///< of each window: [rows], [columns]
    std::vector<Run> window_rows, window_columns;  ///< of each pixel: [height], [width]
    std::vector<float> pixels;                     ///< what a window divides by, [rows][columns]
    std::vector<float> shares;                     ///< one by that
  };

 private:
  std::int64_t line() const;  // floats of one thread's scratch
  Geometry of_;
};

}  // namespace bitloom::kernels
