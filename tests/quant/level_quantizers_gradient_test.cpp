// Gradients of the quantizers of one and two bits against the formulas of their pages, at points
// inside, on the edges and outside; and what moves when.
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/levels.h"
#include "quant/quantizer_harness.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Phase;
using layers::Role;

constexpr const char* kBinary = ", bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary";
constexpr const char* kTernary = ", bits=2, dtype=s8, qmin=-1, qmax=1, grid=ternary";

// Below, low edge, inside, zero, inside, high edge, above.
const std::vector<float> kX = {-1.5F, -1.0F, -0.25F, 0.0F, 0.75F, 1.0F, 2.0F};
const std::vector<float> kDy = {1.0F, 2.0F, 3.0F, 4.0F, 5.0F, 6.0F, 7.0F};
const std::vector<float> kSigns = {-1, -1, -1, 1, 1, 1, 1};

OneNode one_row(const std::string& attributes) { return {Shape{1, 7}, attributes, kX}; }

std::vector<float> times(const std::vector<float>& values, double factor) {
  std::vector<float> out;
  for (const float value : values) {
    out.push_back(static_cast<float>(factor * static_cast<double>(value)));
  }
  return out;
}

TEST(BnnGradient, StopsOutsideOfOne) {
  for (const char* tensor : {"", ", weight=1"}) {
    OneNode one = one_row(cat("quantizer=bnn", kBinary, tensor));
    EXPECT_EQ(one.forward(), kSigns);
    one.backward(kDy);
    EXPECT_EQ(one.gradient("x"), (std::vector<float>{0, 2, 3, 4, 5, 6, 0}));
  }
}

TEST(BinaryConnectGradient, PassesEverywhereAndBoundsTheLatentWeights) {
  OneNode one = one_row(cat("quantizer=binary-connect", kBinary, ", weight=1, bound=1"));
  EXPECT_EQ(one.forward(), kSigns);
  one.backward(kDy);
  EXPECT_EQ(one.gradient("x"), kDy);
  EXPECT_EQ(one.store.at("x").bound, 1.0F);
  EXPECT_EQ(one.store.at("x").lr_ratio, 1.0);
}

// fan_in 7, fan_out 1: 1 / sqrt(1.5 / 8).
TEST(LatentWeights, MayTakeGlorotsLearningRate) {
  OneNode one = one_row(cat("quantizer=bnn", kBinary, ", weight=1, lr_scaling=glorot"));
  EXPECT_DOUBLE_EQ(one.store.at("x").lr_ratio, std::sqrt(8.0 / 1.5));
}

TEST(BiRealGradient, FallsTowardsTheEdges) {
  OneNode one = one_row(cat("quantizer=bi-real", kBinary));
  EXPECT_EQ(one.forward(), kSigns);
  one.backward(kDy);
  EXPECT_EQ(one.gradient("x"), (std::vector<float>{0, 0, 4.5F, 8, 2.5F, 0, 0}));
}

TEST(RsignGradient, MovesWithItsThresholds) {
  OneNode one(Shape{2, 2}, cat("quantizer=rsign", kBinary), {0.5F, -0.5F, 1.75F, 0.0F});
  one.set("q.threshold", {0.75F, -0.25F});
  EXPECT_EQ(one.forward(), (std::vector<float>{-1, -1, 1, 1}));
  one.backward({1, 2, 4, 8});
  // |v| is 0.25, 0.25, 1, 0.25, so the slopes are 1.5, 1.5, 0, 1.5.
  EXPECT_EQ(one.gradient("x"), (std::vector<float>{1.5F, 3, 0, 12}));
  EXPECT_EQ(one.gradient("q.threshold"), (std::vector<float>{-1.5F, -15}));
  EXPECT_EQ(one.store.at("q.threshold").role, Role::kQuantizerOffset);
}

// mean |w| is 6.5 / 7.
TEST(ScaledSignGradients, FollowTheirPages) {
  const double alpha = 6.5 / 7.0;
  for (const char* word : {"bwn", "dorefa", "bi-real"}) {
    SCOPED_TRACE(word);
    OneNode one = one_row(cat("quantizer=", word, kBinary, ", weight=1"));
    EXPECT_EQ(one.forward(), times(kSigns, alpha));
    one.backward(kDy);
    const bool masked = std::string(word) == "bi-real";
    EXPECT_EQ(one.gradient("x"), masked ? (std::vector<float>{0, 2, 3, 4, 5, 6, 0}) : kDy);
  }
  OneNode one = one_row(cat("quantizer=xnor", kBinary, ", weight=1"));
  EXPECT_EQ(one.forward(), times(kSigns, alpha));
  one.backward(kDy);
  const double mean = (-1.0 - 2.0 - 3.0 + 4.0 + 5.0 + 6.0 + 7.0) / 7.0;
  for (std::size_t i = 0; i < kX.size(); ++i) {
    const double inside = std::fabs(kX[i]) <= 1.0F ? alpha * static_cast<double>(kDy[i]) : 0.0;
    EXPECT_NEAR(one.gradient("x")[i], inside + static_cast<double>(kSigns[i]) * mean, 1e-5) << i;
  }
}

// Magnitudes 1.5, 1, 0.25, 0, 0.75, 1, 2: mean 6.5 / 7, t = 0.65, so 0.25 and 0 fall away and the
// scale is 6.25 / 5. The exact optimum: sums 2, 3.5, 4.5, 5.5, 6.25, 6.5 of 1, 2, 3, 4, 5, 6 give
// squares over counts 4, 6.125, 6.75, 7.5625, 7.8125, 7.04.
TEST(TwnWeights, MatchHandWorkedThresholds) {
  const std::vector<float> y = {-1.25F, -1.25F, 0, 0, 1.25F, 1.25F, 1.25F};
  OneNode rule = one_row(cat("quantizer=twn", kTernary, ", weight=1"));
  EXPECT_EQ(rule.forward(), y);
  EXPECT_FLOAT_EQ(rule.value("q.threshold")[0], 0.65F);
  rule.backward(kDy);
  EXPECT_EQ(rule.gradient("x"), kDy);
  OneNode exact = one_row(cat("quantizer=twn-exact", kTernary, ", weight=1"));
  EXPECT_EQ(exact.forward(), y);
  EXPECT_EQ(exact.value("q.threshold")[0], 0.25F);
}

TEST(TtqGradient, HasAScaleForEachSide) {
  OneNode one(Shape{1, 5}, cat("quantizer=ttq", kTernary, ", weight=1"),
              {2.0F, 0.1F, -0.05F, -0.4F, 1.0F});  // t = 0.1
  one.set("q.scale", {0.5F});
  one.set("q.negative_scale", {3.0F});
  EXPECT_EQ(one.forward(), (std::vector<float>{0.5F, 0, 0, -3, 0.5F}));
  one.backward({10, 20, 30, 40, 50});
  EXPECT_EQ(one.gradient("x"), (std::vector<float>{5, 20, 30, 120, 25}));
  EXPECT_EQ(one.gradient("q.scale")[0], 30.0F);
  EXPECT_EQ(one.gradient("q.negative_scale")[0], -40.0F);
}

TEST(TtqWeights, StartFromTheMeansOfTheirSides) {
  OneNode one(Shape{1, 5}, cat("quantizer=ttq", kTernary, ", weight=1"),
              {2.0F, 0.05F, 0.0F, -0.4F, 1.0F});
  start_quantizers(one.graph, one.store);
  EXPECT_EQ(one.value("q.scale")[0], 1.5F);
  EXPECT_EQ(one.value("q.negative_scale")[0], 0.4F);
}

TEST(TtqWeights, NameAScaleThatWentNegative) {
  OneNode one = one_row(cat("quantizer=ttq", kTernary, ", weight=1"));
  one.set("q.negative_scale", {-0.1F});
  EXPECT_ERROR(NumericError, one.forward(), "q.negative_scale", "-0.1");
  one.set("q.negative_scale", {0.1F});
  one.set("q.scale", {-0.1F});
  EXPECT_ERROR(NumericError, one.forward(), "q.scale[0]", "-0.1");
}

// u < p = (w + 1) / 2: what lies outside of [-1, 1] is certain; inside the share of +1 is p. In
// evaluation nothing is drawn, and another step draws anew.
TEST(StochasticSigns, FollowTheHardSigmoid) {
  constexpr std::size_t kCount = 20000;
  for (const char* word : {"binary-connect-stochastic", "bnn-stochastic"}) {
    SCOPED_TRACE(word);
    std::vector<float> x(kCount, 0.5F);
    x[0] = 1.0F;
    x[1] = -1.01F;
    const bool weight = std::string(word) != "bnn-stochastic";
    OneNode one(Shape{1, kCount}, cat("quantizer=", word, kBinary, weight ? ", weight=1" : ""), x);
    const std::vector<float> first = one.forward();
    double plus = 0.0;
    for (const float y : first) plus += y > 0.0F ? 1.0 : 0.0;
    EXPECT_NEAR(plus / kCount, 0.75, 0.01);  // deviation 0.003
    EXPECT_EQ(first[0], 1.0F);
    EXPECT_EQ(first[1], -1.0F);
    EXPECT_NE(one.forward(), first);
    EXPECT_EQ(one.value("q.step")[0], 2.0F);
    one.set("q.step", {0.0F});
    EXPECT_EQ(one.forward(), first);  // what a resumed run draws
    const std::vector<float> evaluated = one.forward(Phase::kEvaluate);
    EXPECT_EQ(evaluated[2], 1.0F);
    EXPECT_EQ(evaluated[1], -1.0F);
    EXPECT_EQ(one.value("q.step")[0], 1.0F);
  }
}

TEST(LevelScales, OfZeroWeightsStayUsable) {
  for (const char* word : {"bwn", "bi-real", "xnor"}) {
    OneNode one(Shape{2, 2}, cat("quantizer=", word, kBinary, ", axis=0"), {0, 0, 1, -2});
    EXPECT_EQ(one.forward()[0], kDeadScale) << word;
    EXPECT_EQ(one.value("q.scale")[1], 1.5F);
  }
  for (const char* word : {"twn", "twn-exact"}) {
    OneNode one(Shape{2, 2}, cat("quantizer=", word, kTernary, ", axis=0"), {0, 0, 1, -2});
    EXPECT_EQ(one.forward()[0], 0.0F) << word;
  }
}

struct Word {
  const char* name;
  const char* quantizer;
  const char* grid;
  const char* tensor;
};
void PrintTo(const Word& word, std::ostream* out) { *out << word.name; }
class LevelWords : public testing::TestWithParam<Word> {};

// Codes of an exported weight are those that training computed with, and settling is idempotent.
TEST_P(LevelWords, ExportWhatTheyTrainedWith) {
  OneNode one =
      one_row(cat("quantizer=", GetParam().quantizer, GetParam().grid, GetParam().tensor));
  start_quantizers(one.graph, one.store);
  const std::vector<float> y = one.forward(Phase::kEvaluate);
  settle_quantizers(one.graph, one.store);
  EXPECT_EQ(one.forward(Phase::kEvaluate), y);
  if (!quantizes_weight(*one.graph.find("q"))) return;
  const Tensor codes = weight_codes(*one.graph.find("q"), one.store);
  for (std::size_t i = 0; i < y.size(); ++i) {
    const int sign = y[i] > 0.0F ? 1 : (y[i] < 0.0F ? -1 : 0);
    EXPECT_EQ(codes.span<std::int8_t>()[i], sign) << i;
  }
}

TEST_P(LevelWords, FrozenKeepStillAndLeaveTheOptimizer) {
  OneNode one =
      one_row(cat("quantizer=", GetParam().quantizer, GetParam().grid, GetParam().tensor));
  start_quantizers(one.graph, one.store);
  const std::vector<float> before = one.forward(Phase::kEvaluate);
  layers::Graph graph = one.graph;
  freeze_ranges(graph, one.store);
  std::map<std::string, std::vector<float>> frozen_values;
  for (const auto& [name, parameter] : one.store.all()) {
    EXPECT_TRUE(name == "x" || !layers::is_trainable(parameter.role)) << name;
    if (name != "x") frozen_values[name] = one.value(name);
  }
  layers::Network frozen(graph, quantized_layers(), one.store, {.batch = 1});
  const ConstTensorView y = frozen.forward(one.images, Phase::kTrain);
  const auto values = y.span<float>();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), before);
  one.set("x", times(kX, 0.25));
  frozen.forward(one.images, Phase::kTrain);
  for (const auto& [name, value] : frozen_values) EXPECT_EQ(one.value(name), value) << name;
  frozen.backward(make_tensor<float>(Shape{1, 7}, kDy));
  EXPECT_TRUE(std::isfinite(one.gradient("x")[0]));
}

INSTANTIATE_TEST_SUITE_P(
    All, LevelWords,
    testing::Values(
        Word{"binary_connect", "binary-connect", kBinary, ", weight=1"},
        Word{"binary_connect_stochastic", "binary-connect-stochastic", kBinary, ", weight=1"},
        Word{"bnn_weights", "bnn", kBinary, ", weight=1"}, Word{"bnn", "bnn", kBinary, ""},
        Word{"bnn_stochastic", "bnn-stochastic", kBinary, ""},
        Word{"bwn", "bwn", kBinary, ", axis=0"}, Word{"xnor", "xnor", kBinary, ", axis=0"},
        Word{"dorefa", "dorefa", kBinary, ", weight=1"},
        Word{"bi_real_weights", "bi-real", kBinary, ", axis=0"},
        Word{"bi_real", "bi-real", kBinary, ""}, Word{"rsign", "rsign", kBinary, ""},
        Word{"twn", "twn", kTernary, ", axis=0"},
        Word{"twn_exact", "twn-exact", kTernary, ", axis=0"},
        Word{"ttq", "ttq", kTernary, ", weight=1"}),
    testing::PrintToStringParamName());

TEST(LevelWordErrors, NameTheNode) {
  const auto refuses = [](const std::string& attributes, const char* text) {
    EXPECT_ERROR(ConfigError, one_row(attributes), "q: ", text);
  };
  refuses(cat("quantizer=twn", kTernary), "a weight");
  refuses(cat("quantizer=rsign", kBinary, ", weight=1"), "an activation");
  refuses(cat("quantizer=twn", kBinary, ", weight=1"), "grid=ternary");
  refuses(cat("quantizer=lsq", kBinary), "a quantizer of one or two bits");
  refuses("quantizer=bnn, bits=8, dtype=s8, qmin=-1, qmax=1", "grid=binary");
  refuses("quantizer=bnn, bits=2, dtype=s8, qmin=-1, qmax=1, grid=binary", "bits=1");
  refuses("quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=octal", "grid=octal");
  refuses(cat("quantizer=ttq", kTernary, ", axis=0"), "two scales");
}

}  // namespace
}  // namespace bitloom::quant
