// From observed values to a scale: min-max and least mean squared error.
// Goes to: quant/calibrate.h (activations and weights before training and for PTQ), EMA ranges.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "bitloom/integer/affine.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::quant {

/// Scales below this are an error while training: the grid has collapsed. No unit of its own; real
/// networks have scales above 1e-6.
inline constexpr float kSmallestScale = 1e-12F;

/// Smallest scale at which [min, max] is not clipped by `format` (zero point fixed):
///   scale = max( max / (qmax - z), min / (qmin - z) ), terms with a zero denominator left out.
/// A constant zero gives scale 1.
float scale_for_range(kernels::MinMax range, const integer::AffineFormat& format);

/// Zero point and scale of an asymmetric grid that covers [min, max] and holds real 0 exactly:
///   scale = (max' - min') / (qmax - qmin), zero_point = round(qmin - min' / scale), min' <= 0 <=
///   max'.
/// Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
/// Integer-Arithmetic-Only Inference", arXiv:1712.05877, section 3.1.
struct AsymmetricGrid {
  float scale = 1.0F;
  std::int32_t zero_point = 0;
};
AsymmetricGrid asymmetric_grid(kernels::MinMax range, integer::CodeRange codes);

/// "minmax" and "mse". @throws ConfigError for another word.
enum class ObserverKind : std::uint8_t { kMinMax, kMse };
ObserverKind observer_from_word(std::string_view word);

/// Histogram of values over a range that is known before.
class Histogram {
 public:
  static constexpr int kBins = 4096;
  Histogram() = default;
  explicit Histogram(kernels::MinMax range);
  /// Values outside the range count in the end bins.
  void add(std::span<const float> values);
  /// Sum over bins of count * (center - fake_quantize(center))^2.
  double squared_error(float scale, const integer::AffineFormat& format) const;
  kernels::MinMax range() const { return range_; }

 private:
  kernels::MinMax range_;
  std::vector<std::int64_t> counts_;
};

/// Scale of least squared error among full * k / 128, k = 8 .. 128, full = scale_for_range(range).
/// Ties take the larger scale.
float mse_scale(const Histogram& histogram, const integer::AffineFormat& format);

/// The same search on the values themselves (weights: one output channel, or all).
float mse_scale(std::span<const float> values, const integer::AffineFormat& format);

}  // namespace bitloom::quant
