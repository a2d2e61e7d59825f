#include "bitloom/integer/affine.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "bitloom/core/error.h"
#include "bitloom/integer/profile.h"
#include "bitloom/integer/requantize.h"
#include "support/error_matchers.h"

namespace bitloom::integer {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

AffineFormat u8(std::int32_t zero_point = 0) {
  return {.bits = 8, .is_signed = false, .zero_point = zero_point, .range = {0, 255}};
}

TEST(Affine, TiesRoundToEven) {
  const AffineFormat format{.bits = 8, .is_signed = true, .zero_point = 0, .range = {-128, 127}};
  EXPECT_EQ(quantize(0.5F, 1.0F, format), 0);
  EXPECT_EQ(quantize(1.5F, 1.0F, format), 2);
  EXPECT_EQ(quantize(2.5F, 1.0F, format), 2);
  EXPECT_EQ(quantize(-0.5F, 1.0F, format), 0);
  EXPECT_EQ(quantize(-1.5F, 1.0F, format), -2);
  EXPECT_EQ(quantize(-2.5F, 1.0F, format), -2);
}

// The zero point is added before rounding, so an odd one turns 0.5 into a tie that goes up.
TEST(Affine, ZeroPointIsAddedBeforeRounding) {
  EXPECT_EQ(quantize(0.5F, 1.0F, u8(128)), 128);
  EXPECT_EQ(quantize(0.5F, 1.0F, u8(127)), 128);
  EXPECT_EQ(quantize(-0.5F, 1.0F, u8(127)), 126);
}

// DESIGN's example: by division the code would be 127.
TEST(Affine, MultipliesByTheReciprocal) {
  const float x = 0.273939937F;
  const float scale = 0.00214854861F;
  EXPECT_EQ(x * (1.0F / scale), 127.5F);
  EXPECT_LT(x / scale, 127.5F);
  EXPECT_EQ(quantize(x, 1.0F / scale, u8()), 128);
}

TEST(Affine, ClampsAtBothEndsAndInfinities) {
  EXPECT_EQ(quantize(-0.6F, 1.0F, u8()), 0);
  EXPECT_EQ(quantize(254.6F, 1.0F, u8()), 255);
  EXPECT_EQ(quantize(1e30F, 1.0F, u8()), 255);
  EXPECT_EQ(quantize(-1e30F, 1.0F, u8()), 0);
  EXPECT_EQ(quantize(kInfinity, 1.0F, u8()), 255);
  EXPECT_EQ(quantize(-kInfinity, 1.0F, u8()), 0);
  const AffineFormat four{.bits = 4, .is_signed = true, .zero_point = 0, .range = {-8, 7}};
  EXPECT_EQ(quantize(7.5F, 1.0F, four), 7);
  EXPECT_EQ(quantize(-8.5F, 1.0F, four), -8);
}

TEST(Affine, BothZerosAndNanHaveACode) {
  EXPECT_EQ(quantize(0.0F, 3.0F, u8(17)), 17);
  EXPECT_EQ(quantize(-0.0F, 3.0F, u8(17)), 17);
  EXPECT_EQ(quantize(std::numeric_limits<float>::quiet_NaN(), 1.0F, u8()), 0);
}

TEST(Affine, EveryCodeComesBack) {
  int checked = 0;
  for (const std::int32_t zero_point : {0, 3, 128, 255}) {
    for (const float scale : {1.0F, 0.1F, 0.00214854861F, 3e-5F}) {
      for (std::int32_t code = 0; code < 256; ++code, ++checked) {
        const float real = dequantize(code, scale, zero_point);
        EXPECT_EQ(quantize(real, 1.0F / scale, u8(zero_point)), code);
      }
    }
  }
  EXPECT_EQ(checked, 4096);
}

TEST(Affine, RangesOfEveryWidth) {
  EXPECT_EQ(weight_range(8, false), (CodeRange{-127, 127}));
  EXPECT_EQ(weight_range(8, true), (CodeRange{-127, 127}));
  EXPECT_EQ(weight_range(7, false), (CodeRange{-64, 63}));
  EXPECT_EQ(weight_range(4, false), (CodeRange{-8, 7}));
  EXPECT_EQ(weight_range(4, true), (CodeRange{-7, 7}));
  EXPECT_EQ(weight_range(2, false), (CodeRange{-2, 1}));
  EXPECT_EQ(activation_range(8, false), (CodeRange{0, 255}));
  EXPECT_EQ(activation_range(3, true), (CodeRange{-4, 3}));
  for (const int bits : {-1, 0, 1, 9, 33}) {
    EXPECT_ERROR(ConfigError, weight_range(bits, false), "2 to 8");
    EXPECT_ERROR(ConfigError, activation_range(bits, false), "2 to 8");
  }
}

TEST(Requantize, StepsRoundOneByOne) {
  // 16777217 rounds to 16777216 on its way to f32; the product and the sum round again.
  EXPECT_EQ(scale_accumulator(16777217, 1.0F, 0.0F), 16777216.0F);
  // A fused step would keep what the rounded product drops.
  const float m = 1.0F + std::ldexp(1.0F, -12);
  const float product = 4097.0F * m;
  EXPECT_EQ(scale_accumulator(4097, m, -product), 0.0F);
  EXPECT_NE(std::fma(4097.0F, m, -product), 0.0F);
}

TEST(Requantize, ResidualIsFused) {
  const float ratio = 1.0F + std::ldexp(1.0F, -12) + std::ldexp(1.0F, -23);
  const float product = 201.0F * ratio;
  EXPECT_NE(std::fma(201.0F, ratio, -product), 0.0F);
  EXPECT_EQ(add_residual(-product, 205, 4, ratio), std::fma(201.0F, ratio, -product));
}

TEST(Requantize, FoldsInDoubleAndRoundsOnce) {
  const FoldedChannel channel = fold_channel(
      {.source = 0.1, .weight = 0.3, .destination = 0.7, .destination_zero_point = 128},
      {.slope = -1.25, .offset = 0.35});
  EXPECT_EQ(channel.multiplier, static_cast<float>(-1.25 * 0.1 * 0.3 / 0.7));
  EXPECT_EQ(channel.bias, static_cast<float>(0.35 / 0.7 + 128));
  EXPECT_EQ(scale_ratio(0.3F, 0.7F), static_cast<float>(double{0.3F} / double{0.7F}));
}

TEST(Profile, Int8ReducedFitsPairsInSixteenBits) {
  const DeviceProfile& reduced = profile_named("int8-reduced");
  const CodeRange weights = reduced.weights(8);
  EXPECT_EQ(weights, (CodeRange{-64, 63}));
  EXPECT_LE(2 * 255 * 64, 32767);
  EXPECT_EQ(reduced.weights(7), (CodeRange{-64, 63}));
  EXPECT_EQ(reduced.weights(8, true), (CodeRange{-63, 63}));
  EXPECT_EQ(reduced.weights(4), (CodeRange{-8, 7}));
  EXPECT_EQ(DeviceProfile::bits_of(weights), 7);
  EXPECT_EQ(DeviceProfile::bits_of({-127, 127}), 8);
  EXPECT_EQ(DeviceProfile::bits_of({-2, 1}), 2);
  const AffineFormat sign = reduced.activations(8, true);
  EXPECT_FALSE(sign.is_signed);
  EXPECT_EQ(sign.zero_point, 128);
  EXPECT_EQ(sign.range, (CodeRange{0, 255}));
}

TEST(Profile, Int8TakesSignedCodesAndFullWeights) {
  const DeviceProfile& int8 = profile_named("int8");
  EXPECT_EQ(int8.weights(8), (CodeRange{-127, 127}));
  const AffineFormat sign = int8.activations(4, true);
  EXPECT_TRUE(sign.is_signed);
  EXPECT_EQ(sign.zero_point, 0);
  EXPECT_EQ(sign.range, (CodeRange{-8, 7}));
  EXPECT_EQ(int8.activations(4, false).range, (CodeRange{0, 15}));
}

TEST(Profile, DefaultFollowsTheCpu) {
  EXPECT_EQ(default_profile(Isa::kAvx2).name, "int8-reduced");
  EXPECT_EQ(default_profile(Isa::kAvx512).name, "int8-reduced");
  EXPECT_EQ(default_profile(Isa::kAvx512Vnni).name, "int8");
  EXPECT_EQ(default_profile(Isa::kOther).name, "int8");
  EXPECT_NE(profile_objection(profile_named("int8"), Isa::kAvx2), "");
  EXPECT_EQ(profile_objection(profile_named("int8"), Isa::kAvx512Vnni), "");
  EXPECT_EQ(profile_objection(profile_named("int8-reduced"), Isa::kSse41), "");
  EXPECT_ERROR(ConfigError, profile_named("int4"), "int8-reduced", "'int4'");
}

}  // namespace
}  // namespace bitloom::integer
