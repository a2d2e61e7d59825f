// From observed values to a scale and a zero point.
// Goes to: quant/calibrate.h (activations and weights before training and for PTQ), EMA ranges.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>

#include "bitloom/integer/affine.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/quant/histogram.h"
#include "bitloom/quant/step_size.h"

namespace bitloom::quant {

/// Scales below this are an error while training: the grid has collapsed. No unit of its own; real
/// networks have scales above 1e-6.
inline constexpr float kSmallestScale = 1e-12F;

/// Smallest scale at which [min, max] is not clipped by `format` (zero point fixed):
///   scale = max( max / (qmax - z), min / (qmin - z) ), terms with a zero denominator left out.
/// A constant zero gives scale 1.
float scale_for_range(kernels::MinMax range, const integer::AffineFormat& format);

/// Least power of two that is not below `scale`: 2^-n with n = floor(-log2(scale)). Rounded up, so
/// that nothing clips that did not clip before; a power of two stays as it is, bit for bit.
/// @pre scale > 0, finite, at most 2^127.
float power_of_two_scale(float scale);

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

/// How a range is chosen from what was seen. Words:
///   minmax      least and greatest value.
///   ema         moving average of each batch's least and greatest value, from the first batch's:
///               range = decay * range + (1 - decay) * batch. Activations.
///   percentile  T = percentile of |x|; range = [min, max] cut to [-T, T].
///   kl          T = kl_threshold() of |x|; range likewise. Activations; calibrate() takes mse for
///               the network's input.
///   mse         the scale of least squared error (mse_scale); its range is not named. The
///   L2-optimal
///               search on the values themselves of Anwar, Hwang, Sung, "Fixed point optimization
///               of deep convolutional neural networks for object recognition", ICASSP 2015.
///   sqnr        the same for a density fitted to the values: fitted_step() of quant/step_size.h;
///               with powers of two the nearest, round(-log2 step). No range either.
enum class ObserverKind : std::uint8_t { kMinMax, kEma, kPercentile, kKl, kMse, kSqnr };
ObserverKind observer_from_word(std::string_view word);  ///< @throws ConfigError

/// What an observer is told.
struct ObserverOptions {
  ObserverKind kind = ObserverKind::kMse;
  double percentile = 99.99;  ///< per cent, (0, 100]
  double decay = 0.9;         ///< ema: share of the old range; calibration sees few batches
  bool power_of_two = false;  ///< scales 2^-n: mse chooses among them, the others round up
};

/// Scale of least squared error among full * k / 128, k = 8 .. 128, full = scale_for_range(range);
/// with power_of_two among power_of_two_scale(full) / 2^k, k = 0 .. 4. Ties take the larger scale.
float mse_scale(const Histogram& histogram, const integer::AffineFormat& format,
                bool power_of_two = false);

/// The same search on the values themselves (weights: one output channel, or all).
float mse_scale(std::span<const float> values, const integer::AffineFormat& format,
                bool power_of_two = false);

/// Percentile of |x| between the two nearest values, linear: torch.quantile(|x|, percentile / 100).
float percentile_magnitude(std::span<const float> values, double percentile);

/// Scale of one row of weights (an output channel, or the whole tensor). `ema` and `kl` are not for
/// weights, which do not change from batch to batch and are too few for a histogram: they count as
/// minmax, as in TensorRT. No values, or none but 0, give scale 1.
float weight_scale(std::span<const float> values, const integer::AffineFormat& format,
                   const ObserverOptions& options);

/// Watches one activation over all batches of calibration: a first pass for the range and, where
/// needs_values(), a second pass over the same batches for a histogram.
class ActivationObserver {
 public:
  explicit ActivationObserver(const ObserverOptions& options) : options_(options) {}

  /// First pass: range of one batch.
  void see_range(kernels::MinMax batch);
  bool needs_values() const;
  /// Second pass. @pre every see_range() was called.
  void see_values(std::span<const float> values);

  kernels::MinMax range() const { return range_; }  ///< least and greatest of all batches
  /// The range that the options choose; for mse and sqnr the whole one.
  kernels::MinMax chosen_range(const integer::AffineFormat& format) const;
  /// Scale and zero point. The zero point is the format's, unless `asymmetric`: then that of
  /// asymmetric_grid(chosen_range), and the scale is the least one with which the rounded zero
  /// point still clips nothing of it.
  AsymmetricGrid grid(integer::AffineFormat format, bool asymmetric) const;

 private:
  ObserverOptions options_;
  bool any_ = false;
  kernels::MinMax range_;
  kernels::MinMax moving_;
  Histogram histogram_;
  SpreadMoments moments_;  // sqnr
};

}  // namespace bitloom::quant
