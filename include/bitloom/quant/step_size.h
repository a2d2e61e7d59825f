// Steps of the optimal uniform quantizer for a density: how far apart the levels lie so that the
// squared error is least, and the SQNR that this gives.
// Goes to: quant/observer.h (the word sqnr), quant/sqnr.h (what a width should give), conversion to
// fixed point.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "bitloom/integer/affine.h"

namespace bitloom::quant {

/// Densities of zero mean and unit variance. Words: "uniform", "gaussian", "laplacian", "gamma".
///   uniform    1 / (2 sqrt(3)) on [-sqrt(3), sqrt(3)]
///   gaussian   exp(-x^2 / 2) / sqrt(2 pi)
///   laplacian  exp(-sqrt(2) |x|) / sqrt(2)
///   gamma      sqrt(k / pi) / (2 sqrt(|x|)) exp(-k |x|), k = sqrt(3) / 2
enum class Density : std::uint8_t { kUniform, kGaussian, kLaplacian, kGamma };
std::string_view to_word(Density density);

/// Levels step * (k + offset), k = low .. high. `one_sided`: of the density's positive half, whose
/// second moment is 1 as well: what a ReLU leaves, its zeros aside.
struct LevelGrid {
  int low = 0;
  int high = 0;
  double offset = 0.0;
  bool one_sided = false;
};

/// 2^bits levels +-step/2, +-3 step/2, ...: symmetric, none at zero (mid-rise). @pre 1 <= bits <=
/// 16
LevelGrid mid_rise_grid(int bits);
/// 2^bits levels with one at zero and one more above it than below: {-1, 0, 1, 2} step for 2 bits,
/// {0, 1} step for 1. The mirror image, our codes [-2^(b-1), 2^(b-1)-1], gives the same numbers.
LevelGrid zero_level_grid(int bits);
/// Levels of a format's codes around its zero point; one-sided where none lies below.
LevelGrid level_grid(const integer::AffineFormat& format);

/// A step and what it gives.
struct StepSize {
  double step = 0.0;     ///< in units of the density's deviation
  double sqnr_db = 0.0;  ///< 10 log10(1 / mean squared error)
};

/// SQNR of the grid at any step: values go to the nearest level. @pre step > 0.
double sqnr_db_of_step(Density density, const LevelGrid& grid, double step);

/// The step of least squared error: the zero of
///   dD/ds = -2 sum over levels c of c (M1 - s c M0),  c = k + offset,
/// with M0, M1 the density's mass and first moment over the level's cell, in closed form; found by
/// bisection around the best of a logarithmic scan, as the gamma density has local minima.
/// Agrees with Sayood, "Introduction to Data Compression", table 9.3 (mid-rise), to its 4 digits.
/// Its twin on data instead of a density is mse_scale() of quant/observer.h. Each answer is
/// computed once and remembered.
StepSize optimal_step(Density density, const LevelGrid& grid);

/// dB that one more bit gives, between two widths of the mid-rise grid:
/// (sqnr(high) - sqnr(low)) / (high - low). 6.02 for uniform; 5.3 for gaussian from 4 to 8.
double kappa_db_per_bit(Density density, int low_bits, int high_bits);
/// The same of measured values: slope of the least-squares line of sqnr_db over bits.
/// @pre two different widths at least.
double measured_kappa_db_per_bit(std::span<const int> bits, std::span<const double> sqnr_db);

/// The density whose mean|x| / rms is nearest: 0.866, 0.798, 0.707 and 0.577 in the order above.
Density nearest_density(double mean_magnitude, double rms);

/// What a density is fitted to: moments about 0 of the values that are not 0. Zeros keep their
/// value on every grid with a level there, and a ReLU makes them by the half, so they would only
/// widen the spike in the middle.
struct SpreadMoments {
  std::int64_t count = 0;
  double magnitudes = 0.0;  ///< sum |x|
  double squares = 0.0;     ///< sum x^2
  void add(std::span<const float> values);
};

/// rms * optimal_step(nearest density, grid); 1 where every value was 0.
double fitted_step(const SpreadMoments& moments, const LevelGrid& grid);

/// Where the binary point lies: `bits` in all, sign included, n of them fractional (may be negative
/// or exceed bits), so that the step is 2^-n.
/// Source: Lin, Talathi, Annapureddy, "Fixed Point Quantization of Deep Convolutional Networks",
/// arXiv:1511.06393: step = spread * Stepsize(bits), n = round(-log2 step).
struct FixedPointFormat {
  int bits = 8;
  int fractional_bits = 0;
  double step() const;
  /// "Q1.6": integer bits without the sign, then fractional bits.
  std::string name() const;
};
/// `spread` is the deviation of what becomes codes. @throws NumericError naming `place` unless it
/// is finite and above 0: a constant tensor has no step.
FixedPointFormat fixed_point_format(const std::string& place, double spread, Density density,
                                    int bits);

}  // namespace bitloom::quant
