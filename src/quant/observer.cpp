#include "bitloom/quant/observer.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

constexpr int kCandidates = 128;
constexpr int kSmallestCandidate = 8;

double squared(double value) { return value * value; }

double error_of(float value, float scale, float inverse, const integer::AffineFormat& format) {
  const std::int32_t code = integer::quantize(value, inverse, format);
  return squared(static_cast<double>(value) -
                 static_cast<double>(integer::dequantize(code, scale, format.zero_point)));
}

template <typename ErrorOf>
float least_error_scale(float full, const ErrorOf& error_at) {
  float best = full;
  double best_error = error_at(full);
  for (int k = kCandidates - 1; k >= kSmallestCandidate; --k) {
    const float scale = full * static_cast<float>(k) / static_cast<float>(kCandidates);
    const double error = error_at(scale);
    if (error < best_error) {
      best_error = error;
      best = scale;
    }
  }
  return best;
}

}  // namespace

float scale_for_range(kernels::MinMax range, const integer::AffineFormat& format) {
  const int above = format.range.qmax - format.zero_point;
  const int below = format.range.qmin - format.zero_point;
  float scale = 0.0F;
  if (above > 0) scale = std::max(scale, range.max / static_cast<float>(above));
  if (below < 0) scale = std::max(scale, range.min / static_cast<float>(below));
  return scale > 0.0F ? scale : 1.0F;
}

AsymmetricGrid asymmetric_grid(kernels::MinMax range, integer::CodeRange codes) {
  const double low = std::min(0.0, static_cast<double>(range.min));
  const double high = std::max(0.0, static_cast<double>(range.max));
  if (low == high) return {1.0F, codes.qmin};
  const double scale = (high - low) / static_cast<double>(codes.qmax - codes.qmin);
  const double zero = std::nearbyint(static_cast<double>(codes.qmin) - low / scale);
  return {static_cast<float>(scale),
          std::clamp(static_cast<std::int32_t>(zero), codes.qmin, codes.qmax)};
}

ObserverKind observer_from_word(std::string_view word) {
  if (word == "minmax") return ObserverKind::kMinMax;
  if (word == "mse") return ObserverKind::kMse;
  throw ConfigError(ErrorText{"quant.observer", "minmax or mse", std::string(word), ""});
}

Histogram::Histogram(kernels::MinMax range)
    : range_(range), counts_(static_cast<std::size_t>(kBins), 0) {}

void Histogram::add(std::span<const float> values) {
  const float width = range_.max - range_.min;
  const float per_unit = width > 0.0F ? static_cast<float>(kBins) / width : 0.0F;
  for (const float value : values) {
    const float position =
        std::clamp((value - range_.min) * per_unit, 0.0F, static_cast<float>(kBins - 1));
    ++counts_[static_cast<std::size_t>(position)];
  }
}

double Histogram::squared_error(float scale, const integer::AffineFormat& format) const {
  const double width = (static_cast<double>(range_.max) - static_cast<double>(range_.min)) / kBins;
  const float inverse = 1.0F / scale;
  double sum = 0.0;
  for (int bin = 0; bin < kBins; ++bin) {
    const std::int64_t count = counts_[static_cast<std::size_t>(bin)];
    if (count == 0) continue;
    const double center = static_cast<double>(range_.min) + (bin + 0.5) * width;
    sum +=
        static_cast<double>(count) * error_of(static_cast<float>(center), scale, inverse, format);
  }
  return sum;
}

float mse_scale(const Histogram& histogram, const integer::AffineFormat& format) {
  return least_error_scale(scale_for_range(histogram.range(), format),
                           [&](float scale) { return histogram.squared_error(scale, format); });
}

float mse_scale(std::span<const float> values, const integer::AffineFormat& format) {
  if (values.empty()) return 1.0F;
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return least_error_scale(scale_for_range({*low, *high}, format), [&](float scale) {
    const float inverse = 1.0F / scale;
    double sum = 0.0;
    for (const float value : values) sum += error_of(value, scale, inverse, format);
    return sum;
  });
}

}  // namespace bitloom::quant
