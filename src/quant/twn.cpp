#include "bitloom/quant/twn.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <span>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "bitloom/kernels/few_levels.h"

namespace bitloom::quant {
namespace {

constexpr float kThresholdRatio = 0.7F;  // Li et al., equation 6

// Threshold of least squared error of magnitudes, which it sorts.
float exact_threshold(std::span<float> magnitudes) {
  std::ranges::sort(magnitudes, std::greater<>());
  double sum = 0.0;
  double best = 0.0;
  float threshold = 0.0F;
  for (std::size_t k = 0; k < magnitudes.size(); ++k) {
    sum += static_cast<double>(magnitudes[k]);
    const float next = k + 1 < magnitudes.size() ? magnitudes[k + 1] : 0.0F;
    if (next == magnitudes[k]) continue;  // equal magnitudes pass together
    const double gain = sum * sum / static_cast<double>(k + 1);
    if (gain > best) {
      best = gain;
      threshold = next;
    }
  }
  return threshold;
}

}  // namespace

TwnWeights::TwnWeights(const QuantizerContext& context, bool exact)
    : TernaryQuantizer(context, false),
      exact_(exact),
      sorted_(exact ? static_cast<std::size_t>(context.input.elements()) : 0) {}

void TwnWeights::find_thresholds(ConstTensorView x) {
  if (!exact_) {
    follow_mean_magnitude(x);
    std::ranges::transform(scales(), thresholds().begin(), [](float mean) {
      return mean > kDeadScale ? kThresholdRatio * mean : 0.0F;
    });
    return;
  }
  const float* w = x.data<float>();
  std::transform(w, w + x.elements(), sorted_.begin(), [](float v) { return std::fabs(v); });
  parallel_for(rows(), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const auto at = static_cast<std::size_t>(row * cols());
      thresholds()[static_cast<std::size_t>(row)] =
          exact_threshold({sorted_.data() + at, static_cast<std::size_t>(cols())});
    }
  });
}

void TwnWeights::settle(ConstTensorView x) {
  if (!moves_) return;
  find_thresholds(x);
  kernels::magnitude_sums(x.data<float>(),
                          {.rows = rows(),
                           .cols = cols(),
                           .threshold = thresholds().data(),
                           .threshold_per_row = rows() > 1},
                          sums_.data());
  std::ranges::transform(sums_, scales().begin(), [](const kernels::MagnitudeSum& of) {
    return of.count == 0 ? kDeadScale : static_cast<float>(of.sum / static_cast<double>(of.count));
  });
}

void TwnWeights::backward(ConstTensorView /*x*/, ConstTensorView dy, TensorView dx) {
  if (!dx.empty()) kernels::copy_f32(dy, dx);
}

}  // namespace bitloom::quant
