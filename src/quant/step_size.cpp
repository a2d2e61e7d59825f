#include "bitloom/quant/step_size.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <mutex>
#include <numbers>
#include <tuple>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSqrtPi = 1.7724538509055160273;

// Integrals of f, x f and x^2 f from 0 to x. @pre x >= 0, may be infinite.
struct Moments {
  double mass = 0.0;
  double first = 0.0;
  double second = 0.0;
};

Moments uniform_moments(double x) {
  const double end = std::numbers::sqrt3;
  const double height = 1.0 / (2.0 * end);
  const double to = std::min(x, end);
  return {height * to, height * to * to / 2.0, height * to * to * to / 3.0};
}

Moments gaussian_moments(double x) {
  const double top = std::numbers::inv_sqrtpi / std::numbers::sqrt2;
  const double mass = 0.5 * std::erf(x / std::numbers::sqrt2);
  const double density = top * std::exp(-0.5 * x * x);
  const double tail = std::isinf(x) ? 0.0 : x * density;
  return {mass, top - density, mass - tail};
}

Moments laplacian_moments(double x) {
  const double rate = std::numbers::sqrt2;
  const double fall = std::exp(-rate * x);
  const double rx = std::isinf(x) ? 0.0 : rate * x;  // beside `fall`, which is 0 there
  return {0.5 * (1.0 - fall), 0.5 / rate * (1.0 - (1.0 + rx) * fall),
          0.5 / (rate * rate) * (2.0 - (2.0 + 2.0 * rx + rx * rx) * fall)};
}

// With y = k x, f dx = y^(-1/2) e^-y dy / (2 sqrt(pi)): lower incomplete gamma functions of 1/2,
// 3/2 and 5/2, each from the one before by parts.
Moments gamma_moments(double x) {
  const double k = std::numbers::sqrt3 / 2.0;
  const double y = k * x;
  const double root = std::sqrt(y);
  const double fall = std::isinf(y) ? 0.0 : std::exp(-y);
  const double half = kSqrtPi * std::erf(root);
  const double three = 0.5 * half - (std::isinf(y) ? 0.0 : root * fall);
  const double five = 1.5 * three - (std::isinf(y) ? 0.0 : root * y * fall);
  const double scale = 1.0 / (2.0 * kSqrtPi);
  return {scale * half, scale * three / k, scale * five / (k * k)};
}

Moments moments_to(Density density, double x) {
  switch (density) {
    case Density::kUniform:
      return uniform_moments(x);
    case Density::kGaussian:
      return gaussian_moments(x);
    case Density::kLaplacian:
      return laplacian_moments(x);
    case Density::kGamma:
      break;
  }
  return gamma_moments(x);
}

// Odd and even continuation below 0; everything twice where only the positive half counts.
Moments moments_below(Density density, double x, bool one_sided) {
  Moments part = moments_to(density, std::abs(x));
  if (one_sided)
    return x > 0.0 ? Moments{2.0 * part.mass, 2.0 * part.first, 2.0 * part.second} : Moments{};
  if (x < 0.0) {
    part.mass = -part.mass;
    part.second = -part.second;
  }
  return part;
}

// Calls use(c, moments of its cell) for every level s * c.
template <typename Use>
void for_each_level(Density density, const LevelGrid& grid, double step, const Use& use) {
  Moments below = moments_below(density, -kInfinity, grid.one_sided);
  for (int k = grid.low; k <= grid.high; ++k) {
    const double c = static_cast<double>(k) + grid.offset;
    const double edge = k == grid.high ? kInfinity : step * (c + 0.5);
    const Moments to = moments_below(density, edge, grid.one_sided);
    use(c, Moments{to.mass - below.mass, to.first - below.first, to.second - below.second});
    below = to;
  }
}

double squared_error(Density density, const LevelGrid& grid, double step) {
  double sum = 0.0;
  for_each_level(density, grid, step, [&](double c, const Moments& cell) {
    const double level = step * c;
    sum += cell.second - 2.0 * level * cell.first + level * level * cell.mass;
  });
  return sum;
}

// -dD/ds / 2: above 0 while a larger step is better.
double descent(Density density, const LevelGrid& grid, double step) {
  double sum = 0.0;
  for_each_level(density, grid, step, [&](double c, const Moments& cell) {
    sum += c * (cell.first - step * c * cell.mass);
  });
  return sum;
}

}  // namespace

std::string_view to_word(Density density) {
  constexpr std::array<std::string_view, 4> kWords{"uniform", "gaussian", "laplacian", "gamma"};
  return kWords.at(static_cast<std::size_t>(density));
}

LevelGrid mid_rise_grid(int bits) {
  const int half = 1 << (bits - 1);
  return {-half, half - 1, 0.5};
}

LevelGrid zero_level_grid(int bits) {
  const int half = 1 << (bits - 1);
  return {1 - half, half};
}

LevelGrid level_grid(const integer::AffineFormat& format) {
  const int low = format.range.qmin - format.zero_point;
  return {low, format.range.qmax - format.zero_point, 0.0, low == 0};
}

double sqnr_db_of_step(Density density, const LevelGrid& grid, double step) {
  return -10.0 * std::log10(squared_error(density, grid, step));
}

namespace {

StepSize solve(Density density, const LevelGrid& grid) {
  constexpr int kScan = 256;
  constexpr double kWidest = 4.0;  // no density here wants a step above 2
  constexpr double kRatio = 0.96;
  int best = 0;
  double least = kInfinity;
  const auto scanned = [](int i) { return kWidest * std::pow(kRatio, i); };
  for (int i = 0; i < kScan; ++i) {
    const double error = squared_error(density, grid, scanned(i));
    if (error < least) {
      least = error;
      best = i;
    }
  }
  double low = scanned(best + 1);
  double high = scanned(best - 1);
  for (int i = 0; i < 60; ++i) {
    const double middle = 0.5 * (low + high);
    (descent(density, grid, middle) > 0.0 ? low : high) = middle;
  }
  const double step = 0.5 * (low + high);
  return {step, sqnr_db_of_step(density, grid, step)};
}

}  // namespace

StepSize optimal_step(Density density, const LevelGrid& grid) {
  using Question = std::tuple<Density, int, int, double, bool>;
  static std::mutex mutex;
  static std::map<Question, StepSize> known;
  const Question question{density, grid.low, grid.high, grid.offset, grid.one_sided};
  const std::lock_guard lock(mutex);
  const auto found = known.find(question);
  if (found != known.end()) return found->second;
  return known.emplace(question, solve(density, grid)).first->second;
}

double kappa_db_per_bit(Density density, int low_bits, int high_bits) {
  const double low = optimal_step(density, mid_rise_grid(low_bits)).sqnr_db;
  const double high = optimal_step(density, mid_rise_grid(high_bits)).sqnr_db;
  return (high - low) / (high_bits - low_bits);
}

double measured_kappa_db_per_bit(std::span<const int> bits, std::span<const double> sqnr_db) {
  const auto count = static_cast<double>(bits.size());
  double mean_bits = 0.0;
  double mean_db = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    mean_bits += bits[i] / count;
    mean_db += sqnr_db[i] / count;
  }
  double products = 0.0;
  double squares = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    products += (bits[i] - mean_bits) * (sqnr_db[i] - mean_db);
    squares += (bits[i] - mean_bits) * (bits[i] - mean_bits);
  }
  BITLOOM_ASSERT(squares > 0.0);
  return products / squares;
}

Density nearest_density(double mean_magnitude, double rms) {
  const double ratio = mean_magnitude / rms;
  const std::array<double, 4> ratios{std::numbers::sqrt3 / 2.0,
                                     std::numbers::sqrt2 * std::numbers::inv_sqrtpi,
                                     1.0 / std::numbers::sqrt2, 1.0 / std::numbers::sqrt3};
  const auto* nearest = std::min_element(ratios.begin(), ratios.end(), [ratio](double a, double b) {
    return std::abs(a - ratio) < std::abs(b - ratio);
  });
  return static_cast<Density>(nearest - ratios.begin());
}

void SpreadMoments::add(std::span<const float> values) {
  for (const float value : values) {
    if (value == 0.0F) continue;
    ++count;
    magnitudes += std::abs(double{value});
    squares += double{value} * double{value};
  }
}

double fitted_step(const SpreadMoments& moments, const LevelGrid& grid) {
  if (moments.count == 0) return 1.0;
  const auto count = static_cast<double>(moments.count);
  const double rms = std::sqrt(moments.squares / count);
  return rms * optimal_step(nearest_density(moments.magnitudes / count, rms), grid).step;
}

double FixedPointFormat::step() const { return std::ldexp(1.0, -fractional_bits); }

std::string FixedPointFormat::name() const {
  return cat("Q", bits - 1 - fractional_bits, ".", fractional_bits);
}

FixedPointFormat fixed_point_format(const std::string& place, double spread, Density density,
                                    int bits) {
  if (!(spread > 0.0) || !std::isfinite(spread)) {
    throw NumericError(ErrorText{place, "a finite spread above 0", cat(spread),
                                 "a constant tensor has no step: take data that differs"});
  }
  const double step = spread * optimal_step(density, zero_level_grid(bits)).step;
  return {bits, static_cast<int>(std::lround(-std::log2(step)))};
}

}  // namespace bitloom::quant
