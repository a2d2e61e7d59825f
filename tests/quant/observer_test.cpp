#include "bitloom/quant/observer.h"

#include <gtest/gtest.h>

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

TEST(ObserverKind, RejectsUnknownWords) { EXPECT_THROW(observer_from_word("kl"), ConfigError); }

}  // namespace
}  // namespace bitloom::quant
