#include "bitloom/quant/code_statistics.h"

#include <gtest/gtest.h>

#include "quant/quantizer_harness.h"

namespace bitloom::quant {
namespace {

// Two outputs, two inputs, 1x2 kernels in OHWI memory (tap 0 of both inputs, tap 1 of both): the
// kernels are (1, 1), (1, -1), (-1, -1), (0, -1). The third is the first's negative.
TEST(CodeStatistics, CountAFilterAndItsNegativeOnce) {
  const Tensor codes = make_tensor<std::int8_t>(
      Shape{2, 2, 1, 2}, std::vector<std::int8_t>{1, 1, 1, -1, -1, 0, -1, -1});
  const CodeStatistics of = code_statistics(codes);
  EXPECT_EQ(of.weights, 8);
  EXPECT_EQ(of.filters, 4);
  EXPECT_EQ(of.unique_filters, 3);
  EXPECT_EQ(of.unique_share(), 0.75);
  EXPECT_EQ(of.zero_share, 1.0 / 8.0);
}

// Rows of a linear weight: the second is the first's negative, zeros are one filter of their own.
TEST(CodeStatistics, TakeRowsOfLinearWeights) {
  const Tensor codes = make_tensor<std::int8_t>(
      Shape{4, 3}, std::vector<std::int8_t>{1, -1, 0, -1, 1, 0, 0, 0, 0, 0, 1, 1});
  const CodeStatistics of = code_statistics(codes);
  EXPECT_EQ(of.filters, 4);
  EXPECT_EQ(of.unique_filters, 3);
}

TEST(LevelCodes, AreThoseOfOneAndTwoBitsAndCountTheirChanges) {
  OneNode one(Shape{1, 4},
              "quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary, weight=1",
              {0.5F, -0.5F, 0.25F, -0.25F});
  const LevelCodes before = level_codes(one.graph, one.store);
  ASSERT_EQ(before.size(), 1U);
  EXPECT_EQ(changed_share(before, before), 0.0);
  one.set("x", {0.5F, 0.5F, 0.25F, -0.25F});
  EXPECT_EQ(changed_share(before, level_codes(one.graph, one.store)), 0.25);
  EXPECT_EQ(changed_share({}, before), 0.0);
  OneNode rounded(Shape{1, 2}, "quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, weight=1",
                  {1, 2});
  EXPECT_TRUE(level_codes(rounded.graph, rounded.store).empty());
}

}  // namespace
}  // namespace bitloom::quant
