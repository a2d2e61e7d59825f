#include <algorithm>
#include <cmath>

#include "bitloom/kernels/few_levels.h"

namespace bitloom::kernels::reference {
namespace {

float threshold_at(const SignRows& rows, std::int64_t i) {
  return rows.threshold == nullptr ? 0.0F : rows.threshold[i % rows.cols];
}

}  // namespace

void sign_codes(const float* x, const SignRows& rows, std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < rows.rows * rows.cols; ++i) {
    codes[i] = x[i] >= threshold_at(rows, i) ? 1 : -1;
  }
}

void ternary_codes(const float* x, const TernaryRows& rows, std::int8_t* codes) noexcept {
  for (std::int64_t i = 0; i < rows.rows * rows.cols; ++i) {
    const float threshold = rows.threshold[rows.threshold_per_row ? i / rows.cols : 0];
    codes[i] = 0;
    if (x[i] > threshold) codes[i] = 1;
    if (x[i] < -threshold) codes[i] = -1;
  }
}

void hardtanh_gradient(const float* x, const float* dy, std::int64_t count, float* dx) noexcept {
  for (std::int64_t i = 0; i < count; ++i) dx[i] = std::fabs(x[i]) <= 1.0F ? dy[i] : 0.0F;
}

void approx_sign_gradient(const ApproxSignGradient& of, const ChannelRows& size,
                          std::byte* /*scratch*/) noexcept {
  for (std::int64_t c = 0; c < size.channels; ++c) {
    const float threshold = of.threshold == nullptr ? 0.0F : of.threshold[c];
    double sum = 0.0;
    for (std::int64_t i = c; i < size.rows * size.channels; i += size.channels) {
      const float gradient =
          gradient_at(of.dy, i) * std::max(0.0F, 2.0F - 2.0F * std::fabs(of.x[i] - threshold));
      sum += static_cast<double>(gradient);
      const float held = of.adds ? gradient_at(of.dx.at, of.dx.dtype, i) + gradient : gradient;
      write_gradient(of.dx, i, held);
    }
    if (of.sums != nullptr) of.sums[c] = static_cast<float>(sum);
  }
}

void magnitude_sums(const float* x, const TernaryRows& rows, MagnitudeSum* out) noexcept {
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    out[row] = {};
    for (std::int64_t i = row * rows.cols; i < (row + 1) * rows.cols; ++i) {
      const float magnitude = std::fabs(x[i]);
      if (rows.threshold != nullptr &&
          !(magnitude > rows.threshold[rows.threshold_per_row ? row : 0])) {
        continue;
      }
      out[row].sum += static_cast<double>(magnitude);
      ++out[row].count;
    }
  }
}

}  // namespace bitloom::kernels::reference
