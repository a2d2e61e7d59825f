#include "bitloom/quant/histogram.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

// Below 128 bins the histogram is too coarse to judge a clipped tail (TensorRT's first candidate).
constexpr int kFirstThreshold = 128;

// KL divergence of the first `kept` bins, clipped tail included, from their `levels` steps.
double divergence(std::span<const double> counts, int kept, double clipped, int levels) {
  const double p_sum = std::accumulate(counts.begin(), counts.begin() + kept, clipped);
  const double q_sum = p_sum - clipped;
  if (!(q_sum > 0.0)) return std::numeric_limits<double>::infinity();
  double sum = 0.0;
  int begin = 0;
  while (begin < kept) {
    const std::int64_t step = static_cast<std::int64_t>(begin) * levels / kept;
    double total = 0.0;
    int nonzero = 0;
    int end = begin;
    for (; end < kept && static_cast<std::int64_t>(end) * levels / kept == step; ++end) {
      total += counts[static_cast<std::size_t>(end)];
      if (counts[static_cast<std::size_t>(end)] > 0.0) ++nonzero;
    }
    const double mean = nonzero > 0 ? total / nonzero : 0.0;
    for (int j = begin; j < end; ++j) {
      const double count = counts[static_cast<std::size_t>(j)];
      const double p = (count + (j == kept - 1 ? clipped : 0.0)) / p_sum;
      if (p <= 0.0) continue;
      if (count <= 0.0) return std::numeric_limits<double>::infinity();
      sum += p * std::log(p * q_sum / mean);
    }
    begin = end;
  }
  return sum;
}

}  // namespace

Histogram::Histogram(kernels::MinMax range, int bins)
    : range_(range), counts_(static_cast<std::size_t>(bins), 0) {}

int Histogram::bin_of(float value, float per_unit) const {
  const auto last = static_cast<float>(counts_.size() - 1);
  return static_cast<int>(std::clamp((value - range_.min) * per_unit, 0.0F, last));
}

void Histogram::add(std::span<const float> values) {
  const float width = range_.max - range_.min;
  const float per_unit = width > 0.0F ? static_cast<float>(counts_.size()) / width : 0.0F;
  for (const float value : values) ++counts_[static_cast<std::size_t>(bin_of(value, per_unit))];
}

void Histogram::add_magnitudes(std::span<const float> values) {
  const float width = range_.max - range_.min;
  const float per_unit = width > 0.0F ? static_cast<float>(counts_.size()) / width : 0.0F;
  for (const float value : values) {
    ++counts_[static_cast<std::size_t>(bin_of(std::abs(value), per_unit))];
  }
}

float Histogram::upper_edge(int bin) const {
  const auto bins = static_cast<double>(counts_.size());
  if (bin + 1 == static_cast<int>(counts_.size())) return range_.max;
  const double low = static_cast<double>(range_.min);
  return static_cast<float>(low + (bin + 1) * (static_cast<double>(range_.max) - low) / bins);
}

double Histogram::squared_error(float scale, const integer::AffineFormat& format) const {
  const double low = static_cast<double>(range_.min);
  const double width =
      (static_cast<double>(range_.max) - low) / static_cast<double>(counts_.size());
  const float inverse = 1.0F / scale;
  double sum = 0.0;
  for (std::size_t bin = 0; bin < counts_.size(); ++bin) {
    if (counts_[bin] == 0) continue;
    const auto center = static_cast<float>(low + (static_cast<double>(bin) + 0.5) * width);
    const std::int32_t code = integer::quantize(center, inverse, format);
    const double error = static_cast<double>(center) -
                         static_cast<double>(integer::dequantize(code, scale, format.zero_point));
    sum += static_cast<double>(counts_[bin]) * error * error;
  }
  return sum;
}

float percentile_threshold(const Histogram& magnitudes, double percentile) {
  const auto counts = magnitudes.counts();
  const auto total = std::accumulate(counts.begin(), counts.end(), std::int64_t{0});
  const double wanted = static_cast<double>(total) * percentile / 100.0;
  std::int64_t below = 0;
  for (std::size_t bin = 0; bin < counts.size(); ++bin) {
    below += counts[bin];
    if (static_cast<double>(below) >= wanted) return magnitudes.upper_edge(static_cast<int>(bin));
  }
  return magnitudes.range().max;
}

float kl_threshold(const Histogram& magnitudes, int levels) {
  const auto bins = static_cast<int>(magnitudes.counts().size());
  BITLOOM_ASSERT(bins > levels && bins > kFirstThreshold);
  std::vector<double> counts(magnitudes.counts().begin(), magnitudes.counts().end());
  counts[0] = counts[1];
  double best_divergence = std::numeric_limits<double>::infinity();
  int best = bins;
  double clipped = 0.0;
  for (int kept = bins; kept >= std::max(kFirstThreshold, levels); --kept) {
    const double here = divergence(counts, kept, clipped, levels);
    if (here < best_divergence) {
      best_divergence = here;
      best = kept;
    }
    clipped += counts[static_cast<std::size_t>(kept - 1)];
  }
  return magnitudes.upper_edge(best - 1);
}

}  // namespace bitloom::quant
