#include "number_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"

namespace bitloom::tools {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

// By hand: 85.125 = 1.330078125 * 2^6, mantissa 0.330078125 = 0x2a4000 / 2^23.
TEST(FloatParts, OfAWorkedNumber) {
  const FloatParts parts = float_parts(85.125F);
  EXPECT_FALSE(parts.sign);
  EXPECT_EQ(parts.exponent_bits, 133U);
  EXPECT_EQ(parts.exponent, 6);
  EXPECT_EQ(parts.mantissa_bits, 0x2a4000U);
  EXPECT_EQ(parts.significand, 1.330078125);
}

TEST(FloatParts, OfZeroNegativeAndSubnormalNumbers) {
  EXPECT_TRUE(float_parts(-0.0F).sign);
  EXPECT_EQ(float_parts(0.0F).significand, 0.0);
  EXPECT_TRUE(float_parts(-3.0F).sign);
  EXPECT_EQ(float_parts(-3.0F).significand, 1.5);
  const FloatParts least = float_parts(std::numeric_limits<float>::denorm_min());
  EXPECT_EQ(least.exponent, -126);
  EXPECT_EQ(std::ldexp(least.significand, least.exponent),
            static_cast<double>(std::numeric_limits<float>::denorm_min()));
}

// Grids reach 128: 85.125 * 127/128 = 84.46, 85.125 on steps of 2 = 42.56, 85.125 * 255/128 =
// 169.6; at 4 bits 85.125 * 7/128 = 4.655, on steps of 32 = 2.66, 85.125 * 15/128 = 9.976.
TEST(NumberCodes, OfAWorkedNumber) {
  const std::vector<NumberCode> codes = number_codes(85.125F, 0.0F);
  ASSERT_EQ(codes.size(), 6U);
  const int expected[] = {84, 43, 170, 5, 3, 10};
  const char* binary[] = {"01010100", "00101011", "10101010", "0101", "0011", "1010"};
  for (std::size_t i = 0; i < codes.size(); ++i) {
    EXPECT_EQ(codes[i].code, expected[i]) << i;
    EXPECT_EQ(codes[i].binary(), binary[i]) << i;
    EXPECT_EQ(codes[i].back, codes[i].scale * static_cast<float>(expected[i])) << i;
  }
  EXPECT_EQ(codes[1].scale, 2.0F);
  EXPECT_EQ(codes[4].scale, 32.0F);
}

TEST(NumberCodes, OfNegativeNumbersAreTwosComplementAndClip) {
  const std::vector<NumberCode> codes = number_codes(-2.0F, 1.0F);
  EXPECT_EQ(codes[0].code, -127);
  EXPECT_EQ(codes[0].binary(), "10000001");
  EXPECT_EQ(codes[2].code, 0);
  EXPECT_EQ(codes[3].code, -8);
  EXPECT_EQ(codes[3].binary(), "1000");
}

TEST(NumberCodes, RefuseWhatNoGridHolds) {
  EXPECT_THROW(number_codes(std::numeric_limits<float>::infinity(), 0.0F), ConfigError);
  EXPECT_THROW(number_codes(1.0F, -1.0F), ConfigError);
  EXPECT_THROW(number_codes(1.0F, 1e-45F), ConfigError);
  EXPECT_THROW(number_codes(std::numeric_limits<float>::max(), 0.0F), ConfigError);
  EXPECT_EQ(number_codes(0.0F, 0.0F).front().code, 0);
}

TEST(NumberText, ShowsBitsAndCodes) {
  EXPECT_THAT(
      number_text(85.125F, 0.0F),
      AllOf(HasSubstr("0x42aa4000"), HasSubstr("10000101  6 (133 - 127)"),
            HasSubstr("01010100100000000000000  significand 1.330078125"), HasSubstr("01010100")));
  EXPECT_EQ(number_json(85.125F, 0.0F)["codes"].size(), 6U);
}

}  // namespace
}  // namespace bitloom::tools
