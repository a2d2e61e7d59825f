// Geometry of a convolution or matrix product and its rows (im2col), shared by the integer and the
// float reference.
#pragma once

#include <algorithm>
#include <cstdint>

#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// A linear layer is a product with a 1x1 window over [N, I, 1, 1].
struct ProductGeometry {
  std::int64_t n = 1, h = 1, w = 1, c = 1;  ///< source
  std::int64_t o = 1, oh = 1, ow = 1;       ///< destination
  Window window;

  std::int64_t group_inputs() const { return c / window.groups; }
  std::int64_t group_outputs() const { return o / window.groups; }
  /// Products per output.
  std::int64_t depth() const { return window.kernel_h * window.kernel_w * group_inputs(); }
  /// Output pixels over the whole batch.
  std::int64_t rows() const { return n * oh * ow; }
  bool is_depthwise() const { return window.groups > 1 && c == window.groups && o == c; }
};

ProductGeometry product_geometry(const Layer& layer, const Shape& source);

/// Output pixel of one row and the source pixel under its window's corner.
struct RowOrigin {
  std::int64_t image, y, x;  ///< y and x may be negative (padding)
};

inline RowOrigin row_origin(const ProductGeometry& g, std::int64_t row) {
  const std::int64_t pixel = row % (g.oh * g.ow);
  return {.image = row / (g.oh * g.ow),
          .y = pixel / g.ow * g.window.stride - g.window.pad_h(),
          .x = pixel % g.ow * g.window.stride - g.window.pad_w()};
}

/// Writes the window under `row` for one group as [KH, KW, I/groups]; padding is To{}.
/// `convert(from, count, to)` turns contiguous source values into row values.
template <typename From, typename To, typename Convert>
void gather_row(const ProductGeometry& g, const From* source, std::int64_t row, std::int64_t group,
                const Convert& convert, To* out) {
  const RowOrigin origin = row_origin(g, row);
  const std::int64_t kw = g.window.kernel_w;
  const std::int64_t inputs = g.group_inputs();
  const std::int64_t first = std::clamp<std::int64_t>(-origin.x, 0, kw);
  const std::int64_t last = std::clamp<std::int64_t>(g.w - origin.x, first, kw);
  for (std::int64_t ky = 0; ky < g.window.kernel_h; ++ky, out += kw * inputs) {
    const std::int64_t y = origin.y + ky;
    if (y < 0 || y >= g.h) {
      std::fill(out, out + kw * inputs, To{});
      continue;
    }
    std::fill(out, out + first * inputs, To{});
    std::fill(out + last * inputs, out + kw * inputs, To{});
    const From* line = source + ((origin.image * g.h + y) * g.w + origin.x) * g.c;
    if (g.window.groups == 1) {
      convert(line + first * g.c, (last - first) * g.c, out + first * g.c);
      continue;
    }
    for (std::int64_t kx = first; kx < last; ++kx) {
      convert(line + kx * g.c + group * inputs, inputs, out + kx * inputs);
    }
  }
}

}  // namespace bitloom::integer
