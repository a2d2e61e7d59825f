#include "bitloom/kernels/bf16_convert.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

float bits(std::uint32_t word) {
  float out = 0.0F;
  std::memcpy(&out, &word, sizeof(out));
  return out;
}

// bf16 keeps 8 bits: above 256 it counts in twos, above 512 in fours.
TEST(RoundToBf16, MatchesHandWorkedValues) {
  EXPECT_EQ(to_float(round_to_bf16(1.0F)), 1.0F);
  EXPECT_EQ(to_float(round_to_bf16(257.0F)), 256.0F) << "a tie goes to the even neighbour";
  EXPECT_EQ(to_float(round_to_bf16(259.0F)), 260.0F);
  EXPECT_EQ(to_float(round_to_bf16(-515.0F)), -516.0F);
  EXPECT_EQ(to_float(round_to_bf16(bits(0x3F80'8001U))), bits(0x3F81'0000U)) << "above a tie";
  EXPECT_EQ(to_float(round_to_bf16(3.4e38F)), kInfinity) << "beyond the largest";
  EXPECT_EQ(to_float(round_to_bf16(-kInfinity)), -kInfinity);
  EXPECT_TRUE(std::signbit(to_float(round_to_bf16(-0.0F))));
  EXPECT_TRUE(std::isnan(to_float(round_to_bf16(bits(0x7FFF'FFFFU)))));
  EXPECT_TRUE(std::isnan(to_float(round_to_bf16(bits(0x7F80'0001U)))));
}

TEST(RoundToBf16, KeepsEveryCodeDifferenceExactly) {
  for (int code = -256; code <= 256; ++code) {
    EXPECT_EQ(to_float(round_to_bf16(static_cast<float>(code))), static_cast<float>(code));
  }
}

std::vector<float> values(std::int64_t count) {
  const RandomStream random(3, "bf16");
  std::vector<float> x;
  for (std::int64_t i = 0; i < count; ++i) {
    x.push_back(random.normal(static_cast<std::uint64_t>(i)) *
                std::exp2f(static_cast<float>(i % 60) - 30.0F));
  }
  const float special[] = {257.0F, 259.0F, kInfinity, -0.0F, bits(0x7F80'0001U), 1e-40F, 3.4e38F};
  for (std::size_t i = 0; i < std::size(special) && i < x.size(); ++i)
    x[x.size() - 1 - i] = special[i];
  return x;
}

std::vector<std::uint16_t> bits_of(const std::vector<Bf16>& y) {
  std::vector<std::uint16_t> out;
  for (const Bf16 value : y) out.push_back(value.bits);
  return out;
}

constexpr std::int64_t kSizes[] = {0, 1, 63, 64, 65, 70001};

TEST(ToBf16, EqualsReferenceOnEveryTarget) {
  std::size_t checked = 0;
  const int targets = for_each_highway_target([&] {
    for (const std::int64_t size : kSizes) {
      for (const std::int64_t offset : {0, 1}) {  // unaligned too
        std::vector<float> x = values(size + offset);
        std::vector<Bf16> found(x.size()), wanted(x.size());
        to_bf16(x.data() + offset, 1, size, nullptr, found.data() + offset);
        reference::to_bf16(x.data() + offset, 1, size, nullptr, wanted.data() + offset);
        EXPECT_EQ(bits_of(found), bits_of(wanted)) << size;
        ++checked;
      }
    }
  });
  EXPECT_EQ(checked, 2 * std::size(kSizes) * static_cast<std::size_t>(targets));
}

TEST(ToBf16, MultipliesEachColumnByItsFactor) {
  for_each_highway_target([&] {
    for (const std::int64_t cols : {1, 10, 16, 33}) {
      const std::vector<float> x = values(9 * cols), factor = values(cols);
      std::vector<Bf16> found(x.size()), wanted(x.size());
      to_bf16(x.data(), 9, cols, factor.data(), found.data());
      reference::to_bf16(x.data(), 9, cols, factor.data(), wanted.data());
      for (std::size_t i = 0; i < found.size(); ++i) {
        const float a = to_float(found[i]);
        const float b = to_float(wanted[i]);
        EXPECT_TRUE(a == b || (std::isnan(a) && std::isnan(b))) << cols << " " << i;
      }
    }
  });
}

TEST(CodesToBf16, EqualReferenceOnEveryTarget) {
  for_each_highway_target([&] {
    for (const bool is_signed : {false, true}) {
      for (const std::int64_t size : kSizes) {
        std::vector<std::uint8_t> codes(static_cast<std::size_t>(size));
        for (std::size_t i = 0; i < codes.size(); ++i) codes[i] = static_cast<std::uint8_t>(i);
        const integer::AffineFormat format{
            .is_signed = is_signed, .zero_point = is_signed ? 0 : 131, .range = {0, 255}};
        std::vector<Bf16> found(codes.size()), wanted(codes.size());
        codes_to_bf16(codes.data(), size, format, found.data());
        reference::codes_to_bf16(codes.data(), size, format, wanted.data());
        EXPECT_EQ(bits_of(found), bits_of(wanted)) << size;
      }
    }
  });
  const std::uint8_t codes[] = {0, 131, 255};
  Bf16 exact[3];
  codes_to_bf16(codes, 3, {.zero_point = 131, .range = {0, 255}}, exact);
  EXPECT_EQ(to_float(exact[0]), -131.0F);
  EXPECT_EQ(to_float(exact[1]), 0.0F);
  EXPECT_EQ(to_float(exact[2]), 124.0F);
}

}  // namespace
}  // namespace bitloom::kernels
