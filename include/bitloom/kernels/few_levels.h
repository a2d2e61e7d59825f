// Signs and ternary codes of reals, and the gradients that training puts in place of theirs; with
// Google Highway, each beside its plain reference of the same signature (namespace reference).
// Comes from: quant (quantizers of one and two bits: levels.h). Formats: integer/affine.h's grids.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/kernels/channel_statistics.h"
#include "bitloom/kernels/gradient_terms.h"

namespace bitloom::kernels {

/// A tensor as rows of contiguous elements with one threshold a column: activations [N, C, H, W]
/// are N*H*W rows of C. Without thresholds how rows are cut does not matter.
struct SignRows {
  std::int64_t rows = 1;
  std::int64_t cols = 0;
  const float* threshold = nullptr;  ///< [cols] in the unit of x; nullptr: 0
};

/// codes[i] = +1 where x >= threshold, else -1 (sign(0) = +1 for both zeros; a NaN gives -1).
void sign_codes(const float* x, const SignRows& rows, std::int8_t* codes) noexcept;

/// Weights as rows of contiguous elements: [O, ...] is O rows.
struct TernaryRows {
  std::int64_t rows = 1;
  std::int64_t cols = 0;
  const float* threshold = nullptr;  ///< [1] or [rows], unit of x, >= 0
  bool threshold_per_row = false;
};

/// codes[i] = +1 where x > threshold, -1 where x < -threshold, else 0.
void ternary_codes(const float* x, const TernaryRows& rows, std::int8_t* codes) noexcept;

/// Straight-through gradient of sign, cut off by hardtanh: dx = dy where |x| <= 1, else 0. dx may
/// be dy. Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830, equation 4.
void hardtanh_gradient(const float* x, const float* dy, std::int64_t count, float* dx) noexcept;

/// Gradient of the piecewise quadratic that stands for sign, at v = x - threshold[c]:
///   dx = dy * max(0, 2 - 2 |v|)
/// Source: Liu et al., "Bi-Real Net", arXiv:1808.00278, equation 7.
struct ApproxSignGradient {
  const float* x = nullptr;
  const float* threshold = nullptr;  ///< [channels]; nullptr: 0
  OutputGradient dy;
  InputGradient dx;   ///< may lie on a term of dy of the same type unless it is added to
  bool adds = false;  ///< to what dx holds, f32; both steps are rounded
  /// [channels] sum over the rows of dy * max(0, 2 - 2 |v|): minus the thresholds' gradient. f32
  /// over 128 rows, then double, in an order that depends on the size and the ISA alone.
  float* sums = nullptr;
};
/// x, dy, dx [rows, channels]. Scratch of channel_scratch_bytes(size), aligned for doubles, where
/// sums are asked for.
void approx_sign_gradient(const ApproxSignGradient& of, const ChannelRows& size,
                          std::byte* scratch) noexcept;

/// What ternary scales are made from.
struct MagnitudeSum {
  double sum = 0.0;        ///< of |x| where |x| > threshold
  std::int64_t count = 0;  ///< of those elements
};

/// One of each row; threshold nullptr: all elements of the row. out [rows]. f32 over at most 4096
/// elements, then double, in an order that does not depend on the thread count.
void magnitude_sums(const float* x, const TernaryRows& rows, MagnitudeSum* out) noexcept;

namespace reference {
void sign_codes(const float* x, const SignRows& rows, std::int8_t* codes) noexcept;
void ternary_codes(const float* x, const TernaryRows& rows, std::int8_t* codes) noexcept;
void hardtanh_gradient(const float* x, const float* dy, std::int64_t count, float* dx) noexcept;
void approx_sign_gradient(const ApproxSignGradient& of, const ChannelRows& size,
                          std::byte* scratch) noexcept;
void magnitude_sums(const float* x, const TernaryRows& rows, MagnitudeSum* out) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
