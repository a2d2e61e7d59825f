#include "bitloom/quant/step_statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "quant/quantizer_harness.h"

namespace bitloom::quant {
namespace {

/// Two passes of one image of zeros: what is looked at lies in the parameter.
void two_batches(const std::function<void(ConstTensorView)>& see) {
  const Tensor image = make_tensor<float>(Shape{1, 1}, std::vector<float>{0.0F});
  see(image);
  see(image);
}

// Scale 0.5, codes -2 .. 1: 0.6 goes to 0.5, -0.9 to -1, 2 is clipped to 0.5.
//   signal = 0.36 + 0.81 + 4, noise = 0.01 + 0.01 + 2.25
TEST(StepStatistics, MatchHandWorkedNoiseAndClippingOfAWeightSeenOnce) {
  OneNode one(Shape{1, 3}, "quantizer=static, bits=2, dtype=s8, qmin=-2, qmax=1, weight=1",
              {0.6F, -0.9F, 2.0F});
  one.set("q.scale", {0.5F});
  const auto steps = step_statistics(one.graph, one.store, two_batches, 1);
  ASSERT_EQ(steps.size(), 1U);
  const StepStatistics& step = steps[0];
  EXPECT_EQ(step.quantizer, "static");
  EXPECT_TRUE(step.is_weight);
  EXPECT_EQ(step.least_scale, 0.5);
  EXPECT_NEAR(step.sqnr_db, 10.0 * std::log10(5.17 / 2.27), 1e-5);
  EXPECT_NEAR(step.outside_percent, 100.0 / 3.0, 1e-9);
  EXPECT_EQ(std::accumulate(step.counts.begin(), step.counts.end(), std::int64_t{0}), 3);
  EXPECT_EQ(step.counts.back(), 1);  // the clipped one
  EXPECT_LT(step.low, -2.0);
  EXPECT_GT(step.high, 1.0);
}

// tanh stands between these weights and their grid: their noise would be no rounding's.
TEST(StepStatistics, SayNothingOfWeightsThatAreBentBeforeTheirGrid) {
  OneNode one(Shape{1, 3}, "quantizer=dorefa, bits=2, dtype=s8, qmin=-1, qmax=1, weight=1",
              {0.6F, -0.9F, 2.0F});
  const auto steps = step_statistics(one.graph, one.store, two_batches, 1);
  ASSERT_EQ(steps.size(), 1U);
  EXPECT_TRUE(std::isnan(steps[0].sqnr_db));
  EXPECT_TRUE(steps[0].counts.empty());
}

}  // namespace
}  // namespace bitloom::quant
