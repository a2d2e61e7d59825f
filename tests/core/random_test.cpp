#include "bitloom/core/random.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>

namespace bitloom {
namespace {

using Block = std::array<std::uint32_t, 4>;

// Known answers published with Random123 (kat_vectors, "philox4x32 10").
TEST(Philox, MatchesPublishedVectors) {
  EXPECT_EQ(philox({0, 0, 0, 0}, {0, 0}),
            (Block{0x6627e8d5U, 0xe169c58dU, 0xbc57ac4cU, 0x9b00dbd8U}));
  constexpr std::uint32_t kOnes = 0xffffffffU;
  EXPECT_EQ(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}),
            (Block{0x408f276dU, 0x41c83b0eU, 0xa20bc7c6U, 0x6d5451fdU}));
  EXPECT_EQ(
      philox({0x243f6a88U, 0x85a308d3U, 0x13198a2eU, 0x03707344U}, {0xa4093822U, 0x299f31d0U}),
      (Block{0xd16cfe09U, 0x94fdccebU, 0x5001e420U, 0x24126ea1U}));
}

TEST(RandomStream, BitsWalkThroughTheBlocks) {
  const RandomStream random(0x1122334455667788U, 0x99AABBCCDDEEFF00U);
  const Block first = philox({0, 0, 0xDDEEFF00U, 0x99AABBCCU}, {0x55667788U, 0x11223344U});
  const Block second = philox({1, 0, 0xDDEEFF00U, 0x99AABBCCU}, {0x55667788U, 0x11223344U});
  for (std::uint64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(random.bits(i), first[i]);
    EXPECT_EQ(random.bits(4 + i), second[i]);
  }
  EXPECT_EQ(random.block(1), second);
}

// FNV-1a of "a", from the table of its authors.
TEST(RandomStream, NameIsFnv1a) {
  EXPECT_EQ(RandomStream(5, "a").bits(3), RandomStream(5, 0xaf63dc4c8601ec8cU).bits(3));
  EXPECT_NE(RandomStream(5, "a").bits(0), RandomStream(5, "b").bits(0));
  EXPECT_NE(RandomStream(5, "a").bits(0), RandomStream(6, "a").bits(0));
}

TEST(RandomStream, UniformFillsTheUnitInterval) {
  const RandomStream random(1, "uniform");
  double sum = 0;
  float least = 1;
  float most = 0;
  constexpr int kCount = 20000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const float value = random.uniform(i);
    ASSERT_GE(value, 0.0F);
    ASSERT_LT(value, 1.0F);
    sum += value;
    least = std::min(least, value);
    most = std::max(most, value);
  }
  EXPECT_NEAR(sum / kCount, 0.5, 0.01);  // five deviations: 5 * 0.289 / sqrt(20000)
  EXPECT_LT(least, 0.001F);
  EXPECT_GT(most, 0.999F);
}

TEST(RandomStream, NormalHasItsMoments) {
  const RandomStream random(1, "normal");
  double sum = 0;
  double squares = 0;
  double fourths = 0;
  constexpr int kCount = 20000;
  for (std::uint64_t i = 0; i < kCount; ++i) {
    const double value = random.normal(i);
    ASSERT_TRUE(std::isfinite(value));
    sum += value;
    squares += value * value;
    fourths += value * value * value * value;
  }
  EXPECT_NEAR(sum / kCount, 0, 0.036);
  EXPECT_NEAR(squares / kCount, 1, 0.05);
  EXPECT_NEAR(fourths / kCount, 3, 0.35);
}

TEST(RandomStream, BelowStaysBelow) {
  const RandomStream random(1, "below");
  std::array<int, 3> counts{};
  for (std::uint64_t i = 0; i < 3000; ++i) ++counts.at(random.below(i, 3));
  for (const int count : counts) EXPECT_NEAR(count, 1000, 130);
  EXPECT_EQ(random.below(0, 1), 0U);
}

TEST(Permutation, HoldsEachNumberOnce) {
  std::vector<std::uint32_t> order = permutation(RandomStream(1, "p"), 1000);
  EXPECT_EQ(order, permutation(RandomStream(1, "p"), 1000));
  EXPECT_NE(order, permutation(RandomStream(2, "p"), 1000));
  EXPECT_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (std::uint32_t i = 0; i < 1000; ++i) EXPECT_EQ(order[i], i);
  EXPECT_TRUE(permutation(RandomStream(1, "p"), 0).empty());
  EXPECT_THAT(permutation(RandomStream(1, "p"), 1), ::testing::ElementsAre(0U));
}

}  // namespace
}  // namespace bitloom
