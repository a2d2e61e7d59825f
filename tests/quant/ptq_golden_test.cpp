// AdaRound, equalization and bias correction against PyTorch: tools/golden/ptq.py.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/bias_correction.h"
#include "bitloom/quant/equalize.h"
#include "bitloom/quant/rounding.h"
#include "support/tensor_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;

Archive golden() { return io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/ptq.h5"); }

struct RoundingCase {
  RoundingCase(const Archive& archive, const std::string& name, int bits, integer::Clip clip)
      : x(archive.tensor(name + "/x")),
        target(archive.tensor(name + "/target")),
        expected_v(archive.tensor(name + "/v")),
        expected_codes(archive.tensor(name + "/codes")),
        losses(archive.tensor(name + "/losses")) {
    const Tensor& w = archive.tensor(name + "/w");
    problem.layer = name;
    problem.linear = w.shape().rank() == 2;
    problem.product = {.source = x.shape(), .weight = w.shape(), .window = {.stride = 2, .pad = 1}};
    problem.weight = w;
    problem.scale = archive.tensor(name + "/scale").span<float>();
    problem.format = {bits, true, 0, {-(1 << (bits - 1)), (1 << (bits - 1)) - 1}};
    problem.clip = clip;
    for (std::int64_t o = 0; o < w.shape()[0]; ++o) {
      problem.affine.push_back({archive.tensor(name + "/slope").data<float>()[o],
                                archive.tensor(name + "/offset").data<float>()[o]});
    }
  }
  const Tensor& x;
  const Tensor& target;
  const Tensor& expected_v;
  const Tensor& expected_codes;
  const Tensor& losses;
  RoundingProblem problem;
};

class AdaRoundGolden : public testing::TestWithParam<bool> {
 protected:
  RoundingCase load(const Archive& archive) const {
    return GetParam() ? RoundingCase(archive, "adaround_linear", 4, {})
                      : RoundingCase(archive, "adaround_conv", 3, integer::kRelu);
  }
};

// Adam divides by the root of the gradient's mean square, so a gradient near 0 magnifies f32's
// rounding: V moves by 0.01 a step, and agrees to a hundredth of one step's way.
TEST_P(AdaRoundGolden, VAfterTwentyStepsEqualsTorch) {
  const Archive archive = golden();
  const RoundingCase task = load(archive);
  RoundingLearner learner(task.problem, {.steps = 20, .lr = 1e-2});
  for (int step = 0; step < 20; ++step) learner.step(step, task.x, task.target);
  const auto expected = task.expected_v.span<float>();
  ASSERT_EQ(learner.v().size(), expected.size());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    ASSERT_NEAR(learner.v()[i], expected[i], 1e-4F) << i;
  }
}

// The losses at steps 0, 60 and 299 of 300 to f32's rounding and what V gathered until then; the
// codes exactly.
TEST_P(AdaRoundGolden, CodesAfterThreeHundredStepsEqualTorch) {
  const Archive archive = golden();
  const RoundingCase task = load(archive);
  RoundingLearner learner(task.problem, {.steps = 300, .lr = 1e-2});
  std::vector<double> losses;
  for (int step = 0; step < 300; ++step) losses.push_back(learner.step(step, task.x, task.target));
  const float* expected = task.losses.data<float>();
  EXPECT_NEAR(losses[0], expected[0], 1e-4 * expected[0]);
  EXPECT_NEAR(losses[60], expected[1], 1e-3 * expected[1]);
  EXPECT_NEAR(losses[299], expected[2], 2e-2 * expected[2]);
  const std::vector<std::int32_t> codes = learner.codes();
  for (std::size_t i = 0; i < codes.size(); ++i) {
    ASSERT_EQ(static_cast<float>(codes[i]), task.expected_codes.span<float>()[i]) << i;
  }
  EXPECT_GT(learner.moved(), 0);
  EXPECT_LT(learner.learned_loss(task.x, task.target), learner.nearest_loss(task.x, task.target));
}

INSTANTIATE_TEST_SUITE_P(Products, AdaRoundGolden, testing::Bool(),
                         [](const auto& product) { return product.param ? "linear" : "conv"; });

struct Equalizable {
  explicit Equalizable(const Archive& golden_values) : archive(golden_values) {
    graph = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x5x5)
conv1.weight = parameter(shape=6x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn = batch_norm(conv1)
relu = relu(bn)
conv2.weight = parameter(shape=5x6x1x1)
conv2 = conv2d(relu, conv2.weight, bias=1)
)",
                         "test");
    const Network declared(graph, layers::float_layers(), store, {.batch = 4});
    for (const auto& [name, word] :
         {std::pair("conv1.weight", "w1"), std::pair("conv2.weight", "w2"),
          std::pair("bn.gamma", "gamma"), std::pair("bn.beta", "beta"),
          std::pair("bn.running_mean", "mean"), std::pair("bn.running_var", "var"),
          std::pair("conv2.bias", "bias2")}) {
      copy(tensor(word), store.at(name).value);
    }
  }
  const Tensor& tensor(const std::string& word) const { return archive.tensor("equalize/" + word); }

  const Archive& archive;
  Graph graph;
  ParameterStore store{1};
};

TEST(EqualizeGolden, FactorsAndOutputsEqualTorch) {
  const Archive archive = golden();
  Equalizable task(archive);
  const Tensor beta = task.store.at("bn.beta").value.clone();
  const Equalization done = equalize(task.graph, task.store);
  EXPECT_EQ(done.pairs, 1);
  EXPECT_EQ(done.sweeps, 2);  // one pair settles at once
  const Tensor& expected = task.tensor("w2_equalized");
  EXPECT_THAT(task.store.at("conv2.weight").value, TensorNear(expected, 1e-4));
  for (std::int64_t i = 0; i < 6; ++i) {
    const float s = beta.data<float>()[i] / task.store.at("bn.beta").value.data<float>()[i];
    EXPECT_NEAR(s, task.tensor("s").data<float>()[i], 1e-5F * s);
  }
  Network network(task.graph, layers::float_layers(), task.store, {.batch = 4, .training = false});
  EXPECT_THAT(network.forward(task.tensor("x"), layers::Phase::kEvaluate),
              TensorNear(task.tensor("y"), 1e-5 * 20));  // outputs reach 20
}

// Weights of the second layer on a grid of four codes, activations as they are: its bias takes back
// torch's shift.
TEST(BiasCorrectionGolden, ShiftEqualsTorchs) {
  const Archive archive = golden();
  Equalizable task(archive);
  const Graph quantized = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x5x5)
conv1.weight = parameter(shape=6x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn = batch_norm(conv1)
relu = relu(bn)
conv2.weight = parameter(shape=5x6x1x1)
conv2.weight.q = fake_quant(conv2.weight, bits=2, dtype=s8, qmin=-2, qmax=1, weight=1)
conv2 = conv2d(relu, conv2.weight.q, bias=1)
)",
                                       "test");
  Equalizable reals(archive);
  task.store.declare("conv2.weight.q.scale", Shape{1}, layers::Role::kQuantizerState,
                     {.constant = task.tensor("step").data<float>()[0]});
  const auto done = correct_biases(
      quantized, task.store, reals.store, [&](const auto& use) { use(task.tensor("x")); }, 4);
  ASSERT_EQ(done.size(), 2U);
  EXPECT_EQ(done[0].mean_shift, 0.0);
  for (std::int64_t o = 0; o < 5; ++o) {
    const float moved = reals.store.at("conv2.bias").value.data<float>()[o] -
                        task.store.at("conv2.bias").value.data<float>()[o];
    EXPECT_NEAR(moved, task.tensor("shift").data<float>()[o], 2e-5F);
    EXPECT_GT(std::abs(moved), 1e-3F);
  }
}

}  // namespace
}  // namespace bitloom::quant
