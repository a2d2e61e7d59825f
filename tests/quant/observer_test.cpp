#include "bitloom/quant/observer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"

namespace bitloom::quant {
namespace {

const integer::AffineFormat kU8{8, false, 0, {0, 255}};
const integer::AffineFormat kS8{8, true, 0, {-128, 127}};
const integer::AffineFormat kS4{4, true, 0, {-8, 7}};
const integer::AffineFormat kU8Zero128{8, false, 128, {0, 255}};

TEST(ScaleForRange, CoversBothEndsAndNothingMore) {
  EXPECT_FLOAT_EQ(scale_for_range({0.0F, 51.0F}, kU8), 0.2F);
  EXPECT_FLOAT_EQ(scale_for_range({-1.0F, 1.27F}, kS8), 0.01F);
  EXPECT_FLOAT_EQ(scale_for_range({-12.8F, 1.0F}, kS8), 0.1F);
  EXPECT_FLOAT_EQ(scale_for_range({-8.0F, 3.5F}, kS4), 1.0F);
  EXPECT_FLOAT_EQ(scale_for_range({-12.8F, 1.0F}, kU8Zero128), 0.1F);
}

TEST(ScaleForRange, OfConstantZeroIsOne) { EXPECT_EQ(scale_for_range({0.0F, 0.0F}, kU8), 1.0F); }

// min -1, max 4 over 255 steps: scale 5/255, zero point round(0 + 1 / scale) = round(51) = 51.
TEST(AsymmetricGrid, HoldsRealZeroExactly) {
  const AsymmetricGrid grid = asymmetric_grid({-1.0F, 4.0F}, {0, 255});
  EXPECT_FLOAT_EQ(grid.scale, 5.0F / 255.0F);
  EXPECT_EQ(grid.zero_point, 51);
  EXPECT_EQ(asymmetric_grid({2.0F, 4.0F}, {0, 255}).zero_point, 0);  // widened to hold 0
  EXPECT_EQ(asymmetric_grid({-4.0F, -2.0F}, {0, 255}).zero_point, 255);
  EXPECT_EQ(asymmetric_grid({0.0F, 0.0F}, {0, 255}).scale, 1.0F);
}

// 2-bit signed codes {-2..1}; one outlier at -100 among a thousand values near +-1: covering it
// would make every other value 0.
TEST(MseScale, LetsAnOutlierClip) {
  std::vector<float> values(1000, 1.0F);
  for (std::size_t i = 0; i < values.size(); i += 2) values[i] = -1.0F;
  values.push_back(-20.0F);
  const integer::AffineFormat s2{2, true, 0, {-2, 1}};
  const float full = scale_for_range({-20.0F, 1.0F}, s2);
  EXPECT_FLOAT_EQ(full, 10.0F);
  EXPECT_LT(mse_scale(values, s2), 2.0F);
}

TEST(MseScale, OfHistogramAgreesWithTheValuesThemselves) {
  const RandomStream random(3, "mse");
  std::vector<float> values(20000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  const kernels::MinMax range = kernels::min_max(values.data(), 20000);
  Histogram histogram(range);
  histogram.add(values);
  for (const int bits : {2, 4, 8}) {
    const integer::AffineFormat format{bits, true, 0, integer::activation_range(bits, true)};
    const float exact = mse_scale(values, format);
    EXPECT_NEAR(mse_scale(histogram, format), exact, 0.05F * exact) << bits;
  }
}

// Gaussian at 4 bits: the optimal uniform step is 0.3352 (Sayood, table 9.3) for levels that lie
// symmetric about 0 at half steps; with a level at 0 the best step is within 10 % of it.
TEST(MseScale, IsNearTheOptimalGaussianStep) {
  const RandomStream random(5, "gauss");
  std::vector<float> values(50000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  EXPECT_NEAR(mse_scale(values, kS4), 0.3352F, 0.034F);
}

TEST(PowerOfTwoScale, RoundsUpAndKeepsPowers) {
  EXPECT_EQ(power_of_two_scale(0.25F), 0.25F);
  EXPECT_EQ(power_of_two_scale(0.2500001F), 0.5F);
  EXPECT_EQ(power_of_two_scale(1.0F), 1.0F);
  EXPECT_EQ(power_of_two_scale(3.0F), 4.0F);
  EXPECT_EQ(power_of_two_scale(1e-20F), std::exp2(-66.0F));
}

bool is_power_of_two(float scale) {
  int exponent = 0;
  return std::frexp(scale, &exponent) == 0.5F;
}

ActivationObserver watched(const std::vector<float>& values, const ObserverOptions& options) {
  ActivationObserver observer(options);
  observer.see_range(kernels::min_max(values.data(), static_cast<std::int64_t>(values.size())));
  if (observer.needs_values()) observer.see_values(values);
  return observer;
}

constexpr ObserverKind kKinds[] = {ObserverKind::kMinMax, ObserverKind::kEma,
                                   ObserverKind::kPercentile, ObserverKind::kKl,
                                   ObserverKind::kMse};

std::vector<float> skewed_values() {
  const RandomStream random(3, "skewed");
  std::vector<float> values(20000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i) + 1.0F;
  return values;
}

// Every observer on a grid with a zero point: real 0 exact, its range inside to half a step.
TEST(ActivationObserver, EveryKindMakesAsymmetricGrids) {
  const std::vector<float> values = skewed_values();
  for (const ObserverKind kind : kKinds) {
    for (const bool power_of_two : {false, true}) {
      SCOPED_TRACE(cat(static_cast<int>(kind), " ", power_of_two));
      const ActivationObserver observer =
          watched(values, {.kind = kind, .power_of_two = power_of_two});
      const AsymmetricGrid grid = observer.grid(kU8Zero128, true);
      EXPECT_NEAR(grid.zero_point, 92, 15);  // (-3.1, 5) of 255 steps, tails cut or not
      EXPECT_EQ(is_power_of_two(grid.scale), power_of_two);
      if (kind == ObserverKind::kMse) continue;
      const kernels::MinMax range = observer.chosen_range(kU8Zero128);
      EXPECT_LE(range.max, grid.scale * static_cast<float>(255 - grid.zero_point) * 1.000001F);
      EXPECT_GE(range.min, -grid.scale * static_cast<float>(grid.zero_point) * 1.000001F);
    }
  }
}

// One value in 20,000 is far away: percentile and kl cut it off, minmax and ema keep it.
TEST(ActivationObserver, CutsWhatItsKindCuts) {
  std::vector<float> values = skewed_values();
  values[77] = 50.0F;
  EXPECT_EQ(watched(values, {.kind = ObserverKind::kMinMax}).chosen_range(kS8).max, 50.0F);
  EXPECT_EQ(watched(values, {.kind = ObserverKind::kEma}).chosen_range(kS8).max, 50.0F);
  const float percentile = watched(values, {.kind = ObserverKind::kPercentile, .percentile = 99.9})
                               .chosen_range(kS8)
                               .max;
  EXPECT_NEAR(percentile, 4.2F, 0.3F);  // 1 + 3.1 sigma; bins of 50 / 2048
  EXPECT_LT(watched(values, {.kind = ObserverKind::kKl}).chosen_range(kS8).max, 12.0F);
}

TEST(ActivationObserver, ChoosesAmongPowersOfTwoByError) {
  const std::vector<float> values = skewed_values();
  const float scale =
      watched(values, {.kind = ObserverKind::kMse, .power_of_two = true}).grid(kS4, false).scale;
  EXPECT_EQ(scale, 0.5F);  // 0.35 .. 0.7 is good for sigma 1 around 1; minmax would give 1
  EXPECT_EQ(
      watched(values, {.kind = ObserverKind::kMinMax, .power_of_two = true}).grid(kS4, false).scale,
      1.0F);
}

TEST(WeightScale, TakesTheWordOfEachKind) {
  std::vector<float> values(200, 0.5F);
  values[3] = -7.0F;
  const integer::AffineFormat s8{8, true, 0, {-127, 127}};
  EXPECT_FLOAT_EQ(weight_scale(values, s8, {.kind = ObserverKind::kMinMax}), 7.0F / 127);
  EXPECT_FLOAT_EQ(weight_scale(values, s8, {.kind = ObserverKind::kKl}), 7.0F / 127);
  EXPECT_FLOAT_EQ(weight_scale(values, s8, {.kind = ObserverKind::kPercentile, .percentile = 90.0}),
                  0.5F / 127);
  EXPECT_FLOAT_EQ(weight_scale(values, s8, {.kind = ObserverKind::kMinMax, .power_of_two = true}),
                  0.0625F);
  EXPECT_EQ(weight_scale({}, s8, {}), 1.0F);
}

// 4 bits of deviation 1: the step of 16 levels with one at zero; behind a ReLU that of 16 on one
// side, whatever share the zeros have.
TEST(ActivationObserver, FitsTheStepOfADensity) {
  std::vector<float> values(20000);
  const RandomStream random(9, "gaussian");
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  const double both = optimal_step(Density::kGaussian, level_grid(kS4)).step;
  const ObserverOptions options{.kind = ObserverKind::kSqnr};
  EXPECT_NEAR(watched(values, options).grid(kS4, false).scale, both, 0.02 * both);
  EXPECT_NEAR(weight_scale(values, kS4, options), both, 0.02 * both);
  // 2^round(log2 0.33) = 0.25, where rounding up would give 0.5.
  EXPECT_EQ(weight_scale(values, kS4, {.kind = ObserverKind::kSqnr, .power_of_two = true}), 0.25F);
  for (float& value : values) value = std::max(value, 0.0F);
  const integer::AffineFormat u4{4, false, 0, {0, 15}};
  const double one = optimal_step(Density::kGaussian, level_grid(u4)).step;
  EXPECT_NEAR(watched(values, options).grid(u4, false).scale, one, 0.02 * one);
}

// Eight magnitudes 1 .. 8, each its own bin of [0, 8]: half of them lie at or below 4.
TEST(PercentileThreshold, IsTheEdgeThatHoldsTheShare) {
  const std::vector<float> values{-0.5F, 1.5F, -2.5F, 3.5F, 4.5F, -5.5F, 6.5F, 7.5F};
  Histogram histogram({0.0F, 8.0F}, 8);
  histogram.add_magnitudes(values);
  EXPECT_FLOAT_EQ(percentile_threshold(histogram, 50.0), 4.0F);
  EXPECT_FLOAT_EQ(percentile_threshold(histogram, 51.0), 5.0F);
  EXPECT_FLOAT_EQ(percentile_threshold(histogram, 100.0), 8.0F);
}

TEST(ObserverKind, RejectsUnknownWords) {
  EXPECT_THROW(observer_from_word("entropy"), ConfigError);
  EXPECT_EQ(observer_from_word("kl"), ObserverKind::kKl);
}

}  // namespace
}  // namespace bitloom::quant
