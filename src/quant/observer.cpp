#include "bitloom/quant/observer.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

constexpr int kCandidates = 128;
constexpr int kSmallestCandidate = 8;
constexpr int kHalvings = 4;  // 1/16 of the full scale, as kSmallestCandidate / kCandidates

double squared_error(std::span<const float> values, float scale,
                     const integer::AffineFormat& format) {
  const float inverse = 1.0F / scale;
  double sum = 0.0;
  for (const float value : values) {
    const std::int32_t code = integer::quantize(value, inverse, format);
    const double error = static_cast<double>(value) -
                         static_cast<double>(integer::dequantize(code, scale, format.zero_point));
    sum += error * error;
  }
  return sum;
}

template <typename ErrorOf>
float least_error_scale(float full, bool power_of_two, const ErrorOf& error_at) {
  if (power_of_two) full = power_of_two_scale(full);
  float best = full;
  double best_error = error_at(full);
  const auto consider = [&](float scale) {
    const double error = error_at(scale);
    if (error < best_error) {
      best_error = error;
      best = scale;
    }
  };
  if (power_of_two) {
    for (int k = 1; k <= kHalvings; ++k) consider(std::ldexp(full, -k));
  } else {
    for (int k = kCandidates - 1; k >= kSmallestCandidate; --k) {
      consider(full * static_cast<float>(k) / static_cast<float>(kCandidates));
    }
  }
  return best;
}

kernels::MinMax range_of(std::span<const float> values) {
  const auto [low, high] = std::minmax_element(values.begin(), values.end());
  return {*low, *high};
}

kernels::MinMax cut(kernels::MinMax range, float threshold) {
  return {std::max(range.min, -threshold), std::min(range.max, threshold)};
}

float largest_magnitude(kernels::MinMax range) {
  return std::max(std::abs(range.min), std::abs(range.max));
}

float fitted_scale(const SpreadMoments& moments, const integer::AffineFormat& format,
                   bool power_of_two) {
  const double step = fitted_step(moments, level_grid(format));
  if (!power_of_two) return static_cast<float>(step);
  return std::ldexp(1.0F, static_cast<int>(std::lround(std::log2(step))));
}

// Steps between real 0 and the far end of the grid: 2^b codes of one sign, or 2^(b-1) of each.
int levels_of_one_sign(const integer::AffineFormat& format) {
  const bool one_sided = !format.is_signed && format.zero_point == format.range.qmin;
  return 1 << (one_sided ? format.bits : format.bits - 1);
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

float power_of_two_scale(float scale) {
  int exponent = 0;
  const float fraction = std::frexp(scale, &exponent);  // in [0.5, 1)
  return std::ldexp(1.0F, fraction > 0.5F ? exponent : exponent - 1);
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
  if (word == "ema") return ObserverKind::kEma;
  if (word == "percentile") return ObserverKind::kPercentile;
  if (word == "kl") return ObserverKind::kKl;
  if (word == "mse") return ObserverKind::kMse;
  if (word == "sqnr") return ObserverKind::kSqnr;
  throw ConfigError(ErrorText{"quant.observer", "minmax, ema, percentile, kl, mse or sqnr",
                              std::string(word), ""});
}

float mse_scale(const Histogram& histogram, const integer::AffineFormat& format,
                bool power_of_two) {
  return least_error_scale(scale_for_range(histogram.range(), format), power_of_two,
                           [&](float scale) { return histogram.squared_error(scale, format); });
}

float mse_scale(std::span<const float> values, const integer::AffineFormat& format,
                bool power_of_two) {
  if (values.empty()) return 1.0F;
  return least_error_scale(scale_for_range(range_of(values), format), power_of_two,
                           [&](float scale) { return squared_error(values, scale, format); });
}

float percentile_magnitude(std::span<const float> values, double percentile) {
  if (values.empty()) return 0.0F;
  std::vector<float> magnitudes(values.size());
  std::transform(values.begin(), values.end(), magnitudes.begin(),
                 [](float value) { return std::abs(value); });
  const double rank = static_cast<double>(magnitudes.size() - 1) * percentile / 100.0;
  const auto lower = static_cast<std::ptrdiff_t>(rank);
  const auto nth = magnitudes.begin() + lower;
  std::nth_element(magnitudes.begin(), nth, magnitudes.end());
  if (nth + 1 == magnitudes.end()) return *nth;
  const float next = *std::min_element(nth + 1, magnitudes.end());
  const double share = rank - static_cast<double>(lower);
  return static_cast<float>(static_cast<double>(*nth) +
                            share * (static_cast<double>(next) - static_cast<double>(*nth)));
}

float weight_scale(std::span<const float> values, const integer::AffineFormat& format,
                   const ObserverOptions& options) {
  if (values.empty()) return 1.0F;
  if (options.kind == ObserverKind::kMse) return mse_scale(values, format, options.power_of_two);
  if (options.kind == ObserverKind::kSqnr) {
    SpreadMoments moments;
    moments.add(values);
    return fitted_scale(moments, format, options.power_of_two);
  }
  kernels::MinMax range = range_of(values);
  if (options.kind == ObserverKind::kPercentile) {
    range = cut(range, percentile_magnitude(values, options.percentile));
  }
  const float scale = scale_for_range(range, format);
  return options.power_of_two ? power_of_two_scale(scale) : scale;
}

void ActivationObserver::see_range(kernels::MinMax batch) {
  const auto blend = [this](float old_value, float new_value) {
    return static_cast<float>(options_.decay * static_cast<double>(old_value) +
                              (1.0 - options_.decay) * static_cast<double>(new_value));
  };
  moving_ =
      any_ ? kernels::MinMax{blend(moving_.min, batch.min), blend(moving_.max, batch.max)} : batch;
  range_ = any_ ? kernels::MinMax{std::min(range_.min, batch.min), std::max(range_.max, batch.max)}
                : batch;
  any_ = true;
}

bool ActivationObserver::needs_values() const {
  return options_.kind != ObserverKind::kMinMax && options_.kind != ObserverKind::kEma;
}

void ActivationObserver::see_values(std::span<const float> values) {
  if (options_.kind == ObserverKind::kSqnr) {
    moments_.add(values);
    return;
  }
  const bool magnitudes = options_.kind != ObserverKind::kMse;
  if (histogram_.counts().empty()) {
    histogram_ = magnitudes
                     ? Histogram({0.0F, largest_magnitude(range_)}, Histogram::kMagnitudeBins)
                     : Histogram(range_);
  }
  if (magnitudes) {
    histogram_.add_magnitudes(values);
  } else {
    histogram_.add(values);
  }
}

kernels::MinMax ActivationObserver::chosen_range(const integer::AffineFormat& format) const {
  switch (options_.kind) {
    case ObserverKind::kEma:
      return moving_;
    case ObserverKind::kPercentile:
      return cut(range_, percentile_threshold(histogram_, options_.percentile));
    case ObserverKind::kKl:
      return cut(range_, kl_threshold(histogram_, levels_of_one_sign(format)));
    case ObserverKind::kMinMax:
    case ObserverKind::kMse:
    case ObserverKind::kSqnr:
      break;
  }
  return range_;
}

AsymmetricGrid ActivationObserver::grid(integer::AffineFormat format, bool asymmetric) const {
  const kernels::MinMax range = chosen_range(format);
  if (asymmetric) format.zero_point = asymmetric_grid(range, format.range).zero_point;
  if (options_.kind == ObserverKind::kMse) {
    return {mse_scale(histogram_, format, options_.power_of_two), format.zero_point};
  }
  if (options_.kind == ObserverKind::kSqnr) {
    return {fitted_scale(moments_, format, options_.power_of_two), format.zero_point};
  }
  const float scale = scale_for_range(range, format);
  return {options_.power_of_two ? power_of_two_scale(scale) : scale, format.zero_point};
}

}  // namespace bitloom::quant
