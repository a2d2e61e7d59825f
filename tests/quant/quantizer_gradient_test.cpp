// Every quantizer's gradients against the formula of its page, at points inside, on the edges and
// outside of the grid; and what moves when.
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/passes.h"
#include "quant/quantizer_harness.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Phase;
using layers::Role;

const std::vector<float> kDy = {10.0F, 20.0F, 30.0F, 40.0F, 50.0F};

// Codes 0..3, scale 0.5, zero point 1: the grid is -0.5, 0, 0.5, 1. Points: below, low edge,
// inside (v = 2.2), high edge, above.
const std::vector<float> kX = {-1.0F, -0.5F, 0.6F, 1.0F, 1.6F};
const std::vector<float> kPassed = {0.0F, 20.0F, 30.0F, 40.0F, 0.0F};
const std::vector<float> kOnGrid = {-0.5F, -0.5F, 0.5F, 1.0F, 1.0F};
constexpr const char* kU2 = ", bits=2, dtype=u8, qmin=0, qmax=3, zero_point=1";
const double kLsqFactor = 1.0 / std::sqrt(5.0 * 3.0);  // 1 / sqrt(count * qmax)

TEST(LsqGradient, FollowsItsPage) {
  OneNode one(Shape{1, 5}, cat("quantizer=lsq", kU2), kX);
  one.set("q.scale", {0.5F});
  EXPECT_EQ(one.forward(), kOnGrid);
  one.backward(kDy);
  EXPECT_EQ(one.gradient("x"), kPassed);
  // below qmin - z = -1, inside round(2.2) - 2.2, above qmax - z = 2.
  EXPECT_NEAR(one.gradient("q.scale")[0], kLsqFactor * (10 * -1 + 30 * -0.2 + 50 * 2), 1e-4);
}

TEST(LsqPlusGradient, FollowsItsPage) {
  OneNode one(Shape{1, 5}, cat("quantizer=lsq+", kU2), kX);
  one.set("q.scale", {0.5F});
  one.set("q.offset", {-0.6F});  // -0.6 / 0.5 rounds to zero point 1
  EXPECT_EQ(one.forward(), kOnGrid);
  EXPECT_EQ(one.value("q.zero_point")[0], 1.0F);
  one.backward(kDy);
  EXPECT_EQ(one.gradient("x"), kPassed);
  EXPECT_NEAR(one.gradient("q.scale")[0], kLsqFactor * (10 * 0 + 30 * -0.2 + 50 * 3), 1e-4);
  EXPECT_NEAR(one.gradient("q.offset")[0], kLsqFactor * (10 + 50), 1e-4);
}

TEST(LsqPlus, KeepsItsZeroPointOnTheGrid) {
  OneNode one(Shape{1, 5}, cat("quantizer=lsq+", kU2), kX);
  one.set("q.scale", {0.5F});
  for (const auto& [offset, zero] : {std::pair{5.0F, 0.0F}, std::pair{-9.0F, 3.0F}}) {
    one.set("q.offset", {offset});
    one.forward(Phase::kEvaluate);
    EXPECT_EQ(one.value("q.zero_point")[0], zero);
  }
  EXPECT_ERROR(ConfigError,
               OneNode(Shape{1, 5}, "quantizer=lsq+, bits=2, dtype=s8, qmin=-2, qmax=1", kX),
               "q: expected an unsigned activation for lsq+");
}

// The scale that runs is 0.5, the next power of two above 0.375; log2 is straight through, so the
// learned one gets 0.5 / 0.375 of the running one's gradient.
TEST(LsqGradient, GoesThroughThePowerOfTwo) {
  OneNode one(Shape{1, 5}, cat("quantizer=lsq, power_of_two=1", kU2), kX);
  one.set("q.real_scale", {0.375F});
  EXPECT_EQ(one.forward(), kOnGrid);
  EXPECT_EQ(one.value("q.scale")[0], 0.5F);
  EXPECT_EQ(one.store.at("q.scale").role, Role::kQuantizerState);
  one.backward(kDy);
  EXPECT_NEAR(one.gradient("q.real_scale")[0],
              kLsqFactor * (10 * -1 + 30 * -0.2 + 50 * 2) * 0.5 / 0.375, 1e-4);
}

// alpha = 1 = scale * (qmax - z); the low end moves with it by (qmin - z) / (qmax - z) = -1/2.
TEST(PactGradient, FollowsItsPage) {
  OneNode one(Shape{1, 5}, cat("quantizer=pact, alpha_decay=0.5", kU2), kX);
  one.set("q.alpha", {1.0F});
  EXPECT_EQ(one.forward(), kOnGrid);
  EXPECT_EQ(one.value("q.scale")[0], 0.5F);
  one.backward(kDy);
  EXPECT_EQ(one.gradient("x"), kPassed);
  EXPECT_NEAR(one.gradient("q.alpha")[0], 50.0 + 10.0 * -0.5 + 0.5 * 1.0, 1e-4);
}

TEST(Pact, RefusesAWeight) {
  EXPECT_ERROR(
      ConfigError,
      OneNode(Shape{1, 5}, "quantizer=pact, bits=2, dtype=s8, qmin=-1, qmax=1, weight=1", kX),
      "a weight");
}

// The largest weight lies on the edge of the grid, and its gradient passes like the others'.
TEST(DorefaGradient, FollowsItsPage) {
  const std::vector<float> w = {0.3F, -2.0F, 0.0F, 1.0F, -0.4F};
  OneNode one(Shape{1, 5}, "quantizer=dorefa, bits=3, dtype=s8, qmin=-3, qmax=3, weight=1", w);
  const std::vector<float> y = one.forward();
  const double m = std::tanh(2.0);
  one.backward(kDy);
  for (std::size_t i = 0; i < w.size(); ++i) {
    const double t = std::tanh(static_cast<double>(w[i]));
    EXPECT_NEAR(y[i], m * std::nearbyint(3.0 * t / m) / 3.0, 1e-6) << i;
    EXPECT_NEAR(one.gradient("x")[i], static_cast<double>(kDy[i]) * (1.0 - t * t), 1e-4) << i;
  }
}

TEST(Dorefa, WantsSymmetricWeightsAndClipsActivationsAtOne) {
  EXPECT_ERROR(
      ConfigError,
      OneNode(Shape{1, 5}, "quantizer=dorefa, bits=3, dtype=s8, qmin=-4, qmax=3, weight=1", kX),
      "symmetric codes");
  OneNode one(Shape{1, 5}, "quantizer=dorefa, bits=2, dtype=u8, qmin=0, qmax=3", kX);
  const std::vector<float> y = one.forward();
  EXPECT_EQ(y[0], 0.0F);
  EXPECT_FLOAT_EQ(y[2], 2.0F / 3.0F);
  EXPECT_EQ(y[4], 1.0F);
}

TEST(DorefaWeights, AZeroTensorKeepsAUsableScale) {
  OneNode one(Shape{2, 2}, "quantizer=dorefa, bits=3, dtype=s8, qmin=-3, qmax=3, axis=0",
              {0, 0, 1, 2});
  EXPECT_EQ(one.forward()[0], 0.0F);
  EXPECT_EQ(one.value("q.scale")[0], 1.0F);
}

// Without kScaleSlack some of these largest weights round an ulp beyond qmax and lose their
// gradient.
TEST(WeightScales, LeaveTheLargestWeightItsGradient) {
  for (const char* quantizer : {"ema", "dorefa"}) {
    SCOPED_TRACE(quantizer);
    std::vector<float> w(400);
    for (std::size_t i = 0; i < w.size(); ++i) w[i] = 0.1F + 0.003F * static_cast<float>(i);
    OneNode one(Shape{400, 1},
                cat("quantizer=", quantizer, ", bits=8, dtype=s8, qmin=-127, qmax=127, axis=0"), w);
    one.forward();
    one.backward(std::vector<float>(w.size(), 1.0F));
    for (std::size_t i = 0; i < w.size(); ++i) EXPECT_GT(one.gradient("x")[i], 0.0F) << w[i];
  }
}

struct Word {
  const char* quantizer;
  const char* learned;  // what the optimizer moves
};
void PrintTo(const Word& word, std::ostream* out) {
  const std::string name = word.quantizer;
  *out << (name == "lsq+" ? "lsq_plus" : name);
}
class EveryWord : public testing::TestWithParam<Word> {};

// What calibration chose is what runs first, whatever is learned.
TEST_P(EveryWord, StartsFromTheCalibratedGrid) {
  for (const char* power : {"", ", power_of_two=1"}) {
    SCOPED_TRACE(power);
    OneNode one(Shape{1, 5}, cat("quantizer=", GetParam().quantizer, kU2, power), kX);
    one.set("q.scale", {0.25F});
    start_quantizers(one.graph, one.store);
    EXPECT_EQ(one.value("q.scale")[0], 0.25F);
    EXPECT_EQ(one.graph.find("q")->integer("zero_point", -1), 1);
    one.forward(Phase::kEvaluate);
    EXPECT_EQ(one.value("q.scale")[0], 0.25F);
  }
}

TEST_P(EveryWord, FrozenRangesStayAndLeaveTheOptimizer) {
  OneNode one(Shape{1, 5}, cat("quantizer=", GetParam().quantizer, kU2), kX);
  one.set("q.scale", {0.5F});
  start_quantizers(one.graph, one.store);
  const std::vector<float> before = one.forward();
  layers::Graph graph = one.graph;
  freeze_ranges(graph, one.store);
  for (const auto& [name, parameter] : one.store.all()) {
    EXPECT_TRUE(name == "x" || !layers::is_trainable(parameter.role)) << name;
  }
  layers::Network frozen(graph, quantized_layers(), one.store, {.batch = 1});
  one.set("x", {-3.0F, -0.5F, 0.6F, 1.0F, 7.0F});
  const ConstTensorView y = frozen.forward(one.images, Phase::kTrain);
  const auto values = y.span<float>();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), before);
  frozen.backward(make_tensor<float>(Shape{1, 5}, kDy));
  EXPECT_EQ(one.gradient("x"), kPassed);
}

TEST_P(EveryWord, SettlesFromWhatIsLearned) {
  OneNode one(Shape{1, 5}, cat("quantizer=", GetParam().quantizer, kU2), kX);
  one.set("q.scale", {0.5F});
  start_quantizers(one.graph, one.store);
  one.set(GetParam().learned, {0.75F});
  settle_quantizers(one.graph, one.store);
  const float settled = one.value("q.scale")[0];
  EXPECT_NE(settled, 0.5F);
  one.forward();
  EXPECT_EQ(one.value("q.scale")[0], settled);
  EXPECT_TRUE(layers::is_trainable(one.store.at(GetParam().learned).role));
}

INSTANTIATE_TEST_SUITE_P(Learned, EveryWord,
                         testing::Values(Word{"lsq", "q.scale"}, Word{"lsq+", "q.scale"},
                                         Word{"pact", "q.alpha"}),
                         testing::PrintToStringParamName());

TEST(QuantizerWords, AreListedInTheError) {
  EXPECT_ERROR(ConfigError, quantizer_from_word("sqrt"), "lsq+, pact, dorefa");
}

}  // namespace
}  // namespace bitloom::quant
