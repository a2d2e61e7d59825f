#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/integer/requantize.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::kernels::reference {
namespace {

float scale_of(const RowsFormat& rows, std::int64_t row) {
  return rows.scale[rows.scale_per_row ? row : 0];
}

std::int32_t code_at(const void* codes, bool is_signed, std::int64_t i) {
  return is_signed ? static_cast<const std::int8_t*>(codes)[i]
                   : static_cast<const std::uint8_t*>(codes)[i];
}

}  // namespace

void quantize(const float* x, const RowsFormat& rows, void* codes) noexcept {
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const float inverse = 1.0F / scale_of(rows, row);
    for (std::int64_t i = row * rows.cols; i < (row + 1) * rows.cols; ++i) {
      static_cast<std::uint8_t*>(codes)[i] =
          static_cast<std::uint8_t>(integer::quantize(x[i], inverse, rows.format));
    }
  }
}

void dequantize(const void* codes, const RowsFormat& rows, float* y) noexcept {
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    for (std::int64_t i = row * rows.cols; i < (row + 1) * rows.cols; ++i) {
      y[i] = integer::dequantize(code_at(codes, rows.format.is_signed, i), scale_of(rows, row),
                                 rows.format.zero_point);
    }
  }
}

void fake_quantize(const float* x, const RowsFormat& rows, float* y) noexcept {
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const float scale = scale_of(rows, row);
    const float inverse = 1.0F / scale;
    for (std::int64_t i = row * rows.cols; i < (row + 1) * rows.cols; ++i) {
      y[i] = integer::dequantize(integer::quantize(x[i], inverse, rows.format), scale,
                                 rows.format.zero_point);
    }
  }
}

void fake_quantize_backward(const float* x, const float* dy, const RowsFormat& rows, float* dx,
                            GradientSums* sums) noexcept {
  const auto low = static_cast<float>(rows.format.range.qmin);
  const auto high = static_cast<float>(rows.format.range.qmax);
  const auto zero = static_cast<float>(rows.format.zero_point);
  if (sums != nullptr) std::fill(sums, sums + (rows.scale_per_row ? rows.rows : 1), GradientSums{});
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const float inverse = 1.0F / scale_of(rows, row);
    GradientSums sum;
    for (std::int64_t i = row * rows.cols; i < (row + 1) * rows.cols; ++i) {
      const float v = x[i] * inverse + zero;
      const auto gradient = static_cast<double>(dy[i]);
      const bool inside = !(v < low) && !(v > high);
      if (inside) {
        sum.inside += gradient * static_cast<double>(std::nearbyintf(v) - v);
      } else {
        (v < low ? sum.below : sum.above) += gradient;
      }
      if (dx != nullptr) dx[i] = inside ? dy[i] : 0.0F;
    }
    if (sums == nullptr) continue;
    GradientSums& total = sums[rows.scale_per_row ? row : 0];
    total.inside += sum.inside;
    total.below += sum.below;
    total.above += sum.above;
  }
}

MinMax min_max(const float* x, std::int64_t count) noexcept {
  if (!std::all_of(x, x + count, [](float value) { return std::isfinite(value); })) {
    return {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::quiet_NaN()};
  }
  const auto [low, high] = std::minmax_element(x, x + count);
  return {*low, *high};
}

void min_max_rows(const float* x, std::int64_t rows, std::int64_t cols, MinMax* out) noexcept {
  for (std::int64_t row = 0; row < rows; ++row) out[row] = min_max(x + row * cols, cols);
}

void add_dequantized(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept {
  for (std::int64_t i = 0; i < rows.rows * rows.cols; ++i) {
    y[i] = a[i] + integer::dequantize(code_at(codes, rows.format.is_signed, i),
                                      scale_of(rows, i / rows.cols), rows.format.zero_point);
  }
}

void add_residual(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept {
  for (std::int64_t i = 0; i < rows.rows * rows.cols; ++i) {
    y[i] = integer::add_residual(a[i], code_at(codes, rows.format.is_signed, i),
                                 rows.format.zero_point, scale_of(rows, i / rows.cols));
  }
}

}  // namespace bitloom::kernels::reference
