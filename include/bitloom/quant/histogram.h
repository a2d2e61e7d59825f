// Counts of values over a range that is known before, and what observers read from them.
// Goes to: quant/observer.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bitloom/integer/affine.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::quant {

/// Bins of equal width over [min, max], or over [0, max |x|] for magnitudes.
class Histogram {
 public:
  static constexpr int kBins = 4096;           ///< for squared errors
  static constexpr int kMagnitudeBins = 2048;  ///< for clipping thresholds, as TensorRT takes
  Histogram() = default;
  explicit Histogram(kernels::MinMax range, int bins = kBins);

  /// Values outside the range count in the end bins.
  void add(std::span<const float> values);
  /// The same with |x| for x.
  void add_magnitudes(std::span<const float> values);

  /// Sum over bins of count * (center - fake_quantize(center))^2.
  double squared_error(float scale, const integer::AffineFormat& format) const;

  kernels::MinMax range() const { return range_; }
  std::span<const std::int64_t> counts() const { return counts_; }
  /// Upper edge of bin i: min + (i + 1) * (max - min) / bins, the last one max itself.
  float upper_edge(int bin) const;

 private:
  int bin_of(float value, float per_unit) const;

  kernels::MinMax range_;
  std::vector<std::int64_t> counts_;
};

/// Smallest bin edge below which at least `percentile` per cent of the values lie.
/// @pre 0 < percentile <= 100 and at least one value was added.
float percentile_threshold(const Histogram& magnitudes, double percentile);

/// Threshold T on |x| at which clipping and `levels` equal steps over [0, T] change the
/// distribution least.
///
/// For each T = upper edge of bin i - 1, i = max(128, levels) .. bins:
///   p[j] = count[j] for j < i, and p[i-1] += all counts from i on (what clips);
///   q[j] = mean of the nonzero counts of j's step (bins floor(j * levels / i) alike), 0 where
///          count[j] = 0;
///   KL(p || q) = sum p log(p / q), both normalised to 1; infinite where q = 0 < p.
/// The T of least divergence; of equal ones the largest. The count of bin 0 is taken from bin 1,
/// because the zeros behind a ReLU are exact at any T.
/// Source: Migacz, "8-bit Inference with TensorRT", GTC 2017; the details follow NVIDIA's
/// modelopt.torch.quantization.calib.HistogramCalibrator ("entropy"). Ours differs: never fewer
/// bins than levels, where every T would look perfect.
/// Golden: tests/golden/observers.h5, made by tools/golden/observers.py.
/// @pre the histogram has more bins than levels.
float kl_threshold(const Histogram& magnitudes, int levels);

}  // namespace bitloom::quant
