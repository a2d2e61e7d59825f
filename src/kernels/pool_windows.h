// Which pixels a window of a pooling has, and which windows a pixel.
// Goes to: pool_codes.cpp, average_pool.cpp.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bitloom/core/shape.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Part of a window inside the image, along one axis: positions [first, last) of the kernel, which
/// starts at pixel `origin`.
struct Inside {
  std::int64_t origin, first, last;
};

inline Inside inside(std::int64_t out, std::int64_t kernel, const integer::Window& window,
                     std::int64_t size) {
  const std::int64_t origin = out * window.stride - window.pad;
  return {origin, std::max<std::int64_t>(0, -origin), std::min(kernel, size - origin)};
}

/// Windows that hold a pixel, along one axis: [first, last), and where in the first of them it
/// lies. It lies `stride` positions further up in each next one.
struct Covering {
  std::int64_t first, last, position;
};

inline Covering covering(std::int64_t at, std::int64_t kernel, const integer::Window& window,
                         std::int64_t windows) {
  const std::int64_t padded = at + window.pad;
  const std::int64_t first =
      std::max<std::int64_t>(0, (padded - kernel + window.stride) / window.stride);
  const std::int64_t last = std::min(windows, padded / window.stride + 1);
  return {first, std::max(first, last), padded - first * window.stride};
}

/// Pixels of a window that lie inside the image.
inline std::int32_t pixels_inside(const Shape& source, const integer::Window& window,
                                  std::int64_t y, std::int64_t x) {
  const Inside rows = inside(y, window.kernel_h, window, source.h());
  const Inside columns = inside(x, window.kernel_w, window, source.w());
  return static_cast<std::int32_t>((rows.last - rows.first) * (columns.last - columns.first));
}

/// Pixels that an average divides by.
inline std::int32_t pixels_counted(const Shape& source, const integer::Window& window,
                                   std::int64_t y, std::int64_t x) {
  if (!window.count_pad) return pixels_inside(source, window, y, x);
  return static_cast<std::int32_t>(window.kernel_h * window.kernel_w);
}

}  // namespace bitloom::kernels
