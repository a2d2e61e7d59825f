// Quantize, dequantize and fake-quantize over whole tensors, forward and backward, with Google
// Highway; each beside its plain reference of the same signature (namespace reference).
// Formulas: integer/affine.h. Goes to: src/quant.
#pragma once

#include <cstdint>

#include "bitloom/integer/affine.h"

namespace bitloom::kernels {

/// A tensor seen as rows of contiguous elements, with one scale for all or one a row.
/// Activations: one row. Weights [O, ...]: O rows (OHWI keeps an output channel contiguous).
struct RowsFormat {
  std::int64_t rows = 1;
  std::int64_t cols = 0;
  const float* scale = nullptr;  ///< [1] or [rows], all > 0
  bool scale_per_row = false;
  integer::AffineFormat format;  ///< codes are u8, or s8 where format.is_signed
};

/// codes[i] = quantize(x[i]); one byte each, bit pattern of u8 or s8.
void quantize(const float* x, const RowsFormat& rows, void* codes) noexcept;

/// y[i] = scale * (codes[i] - zero_point).
void dequantize(const void* codes, const RowsFormat& rows, float* y) noexcept;

/// y[i] = dequantize(quantize(x[i])); y may be x.
void fake_quantize(const float* x, const RowsFormat& rows, float* y) noexcept;

/// What the learned parameters of a grid are told by one backward pass, per scale.
struct GradientSums {
  double inside = 0.0;  ///< sum dy * (round(v) - v) where qmin <= v <= qmax
  double below = 0.0;   ///< sum dy where v < qmin
  double above = 0.0;   ///< sum dy where v > qmax
};

/// Straight-through gradient with clipping mask, and the sums behind every learned grid.
/// With v = x * (1/scale) + zero_point:
///   dx = dy where qmin <= v <= qmax, else 0;  sums: see GradientSums
/// So LSQ's dscale = inside + below * (qmin - zero_point) + above * (qmax - zero_point).
/// Sums run in f32 over at most 4096 elements, then in double, in an order that depends on the
/// thread count alone. dx may be dy, or nullptr. sums [1] or [rows], or nullptr.
/// Source: Esser et al., "Learned Step Size Quantization", arXiv:1902.08153, equations 3 and 5;
///         we pass the gradient at the two edges too, as clamp's derivative in PyTorch does.
void fake_quantize_backward(const float* x, const float* dy, const RowsFormat& rows, float* dx,
                            GradientSums* sums) noexcept;

/// Least and greatest element; both NaN if any element is NaN or infinite. @pre count > 0.
struct MinMax {
  float min = 0.0F;
  float max = 0.0F;
};
MinMax min_max(const float* x, std::int64_t count) noexcept;

/// The same of each row of x [rows, cols], dealt out to the threads. @pre cols > 0.
void min_max_rows(const float* x, std::int64_t rows, std::int64_t cols, MinMax* out) noexcept;

/// y[i] = a[i] + scale * (codes[i] - zero_point): a residual whose shortcut is codes.
void add_dequantized(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept;

/// y[i] = fma(codes[i] - zero_point, scale, a[i]), one rounding: a residual as
/// integer/requantize.h's add_residual has it, scale = s_r / s_y.
void add_residual(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept;

namespace reference {
void quantize(const float* x, const RowsFormat& rows, void* codes) noexcept;
void dequantize(const void* codes, const RowsFormat& rows, float* y) noexcept;
void fake_quantize(const float* x, const RowsFormat& rows, float* y) noexcept;
void fake_quantize_backward(const float* x, const float* dy, const RowsFormat& rows, float* dx,
                            GradientSums* sums) noexcept;
MinMax min_max(const float* x, std::int64_t count) noexcept;
void min_max_rows(const float* x, std::int64_t rows, std::int64_t cols, MinMax* out) noexcept;
void add_dequantized(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept;
void add_residual(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
