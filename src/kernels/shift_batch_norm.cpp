#include "bitloom/kernels/shift_batch_norm.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/power_of_two.h"
#include "column_sums.h"

namespace bitloom::kernels {
namespace {

constexpr std::int64_t kGrain = 16384;

// body(first element of a row) for all rows of x.
template <typename Body>
void for_each_row(ConstTensorView x, const Body& body) {
  const std::int64_t cols = x.shape().c();
  parallel_for(x.elements() / cols, std::max<std::int64_t>(1, kGrain / cols),
               [&](std::int64_t begin, std::int64_t end, int) {
                 for (std::int64_t row = begin; row < end; ++row) body(row * cols);
               });
}

}  // namespace

void shift_norm_statistics(ConstTensorView x, TensorView mean, TensorView variance) noexcept {
  const float* in = x.data<float>();
  float* means = mean.data<float>();
  float* variances = variance.data<float>();
  const std::int64_t cols = x.shape().c();
  const std::int64_t rows = x.elements() / cols;
  const auto count = static_cast<float>(rows);
  column_sums<1>(rows, cols, {means},
                 [&](std::int64_t i, std::int64_t) { return std::array{in[i]}; });
  for (std::int64_t c = 0; c < cols; ++c) means[c] /= count;
  column_sums<1>(rows, cols, {variances}, [&](std::int64_t i, std::int64_t c) {
    const float v = in[i] - means[c];
    return std::array{v * nearest_power_of_two(v)};
  });
  for (std::int64_t c = 0; c < cols; ++c) variances[c] /= count;
}

void shift_norm_factors(const float* variance, const float* gamma, std::int64_t channels,
                        float epsilon, float* inverse, float* factor) noexcept {
  for (std::int64_t c = 0; c < channels; ++c) {
    inverse[c] = nearest_power_of_two(1.0F / std::sqrt(variance[c] + epsilon));
    factor[c] = nearest_power_of_two(gamma[c]);
  }
}

void shift_norm(ConstTensorView x, const ShiftNormChannels& channels, const float* beta,
                TensorView y) noexcept {
  const float* in = x.data<float>();
  float* out = y.data<float>();
  const std::int64_t cols = x.shape().c();
  for_each_row(x, [&](std::int64_t first) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const float h = (in[first + c] - channels.mean[c]) * channels.inverse[c];
      out[first + c] = channels.factor[c] * h + beta[c];
    }
  });
}

void shift_norm_gradient(ConstTensorView x, const ShiftNormChannels& channels, ConstTensorView dy,
                         float* dgamma, float* dbeta, TensorView dx) noexcept {
  const float* in = x.data<float>();
  const float* gradient = dy.data<float>();
  const std::int64_t cols = x.shape().c();
  const std::int64_t rows = x.elements() / cols;
  const auto normalized = [&](std::int64_t i, std::int64_t c) {
    return (in[i] - channels.mean[c]) * channels.inverse[c];
  };
  column_sums<2>(rows, cols, {dgamma, dbeta}, [&](std::int64_t i, std::int64_t c) {
    return std::array{gradient[i] * normalized(i, c), gradient[i]};
  });
  if (dx.empty()) return;
  const float share = 1.0F / static_cast<float>(rows);
  float* out = dx.data<float>();
  for_each_row(x, [&](std::int64_t first) {
    for (std::int64_t c = 0; c < cols; ++c) {
      const float centred =
          gradient[first + c] - dbeta[c] * share - normalized(first + c, c) * (dgamma[c] * share);
      out[first + c] = channels.factor[c] * channels.inverse[c] * centred;
    }
  });
}

}  // namespace bitloom::kernels
