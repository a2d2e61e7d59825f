// AdaMax against PyTorch, shift-based AdaMax against its algorithm in double
// (tools/golden/binary.py); bounds and learning-rate ratios of single parameters.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/train/optimizer.h"

namespace bitloom::train {
namespace {

TrainOptions options_for(const char* optimizer) {
  TrainOptions options;
  options.optimizer = optimizer;
  options.weight_decay = 0.0;
  return options;
}

class Adamax : public testing::TestWithParam<std::pair<const char*, const char*>> {};

TEST_P(Adamax, FollowsItsTrajectory) {
  const auto [optimizer_word, golden_word] = GetParam();
  const Archive golden = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/binary.h5");
  constexpr std::size_t kCount = 24;
  layers::ParameterStore store(1);
  layers::Parameter& weight = store.declare("w", Shape{kCount}, layers::Role::kWeight, {});
  copy(golden.tensor("adamax/start"), weight.value);
  Optimizer optimizer(store, options_for(optimizer_word));
  const auto gradients = golden.tensor("adamax/gradients").span<float>();
  const auto wanted = golden.tensor(cat("adamax/", golden_word)).span<float>();
  for (std::size_t step = 0; step < 8; ++step) {
    std::copy_n(gradients.begin() + static_cast<std::ptrdiff_t>(step * kCount), kCount,
                weight.gradient.data<float>());
    optimizer.step({.lr = 0.01, .momentum = 0.9, .step = static_cast<std::int64_t>(step)});
    for (std::size_t i = 0; i < kCount; ++i) {
      EXPECT_NEAR(weight.value.data<float>()[i], wanted[step * kCount + i], 2e-6)
          << step << " " << i;
    }
  }
  // Its gradient was always 0.
  EXPECT_EQ(weight.value.data<float>()[5], golden.tensor("adamax/start").data<float>()[5]);
}

INSTANTIATE_TEST_SUITE_P(Both, Adamax,
                         testing::Values(std::pair{"adamax", "plain"},
                                         std::pair{"shift-adamax", "shifted"}),
                         [](const auto& of) { return std::string(of.param.second); });

// One step of lr 0.25 along a gradient of -4: sgd moves by 0.25 * 4 times the ratio's square,
// adamax by 0.25 times the ratio.
TEST(LearningRateRatio, CountsTwiceWhereStepsGrowWithGradients) {
  for (const auto& [word, moved] :
       {std::pair{"sgd", 0.25F * 4.0F * 9.0F}, std::pair{"adamax", 0.75F}}) {
    layers::ParameterStore store(1);
    layers::Parameter& weight = store.declare("w", Shape{1}, layers::Role::kWeight, {});
    weight.lr_ratio = 3.0;
    weight.gradient.data<float>()[0] = -4.0F;
    TrainOptions options = options_for(word);
    options.adam_epsilon = 1e-12;
    Optimizer(store, options).step({.lr = 0.25, .momentum = 0.0, .step = 0});
    EXPECT_FLOAT_EQ(weight.value.data<float>()[0], moved) << word;
  }
}

TEST(Bounds, HoldWeightsAfterTheStep) {
  layers::ParameterStore store(1);
  layers::Parameter& bound = store.declare("bound", Shape{3}, layers::Role::kWeight, {});
  layers::Parameter& free = store.declare("free", Shape{3}, layers::Role::kWeight, {});
  bound.bound = 1.0F;
  for (layers::Parameter* parameter : {&bound, &free}) {
    std::ranges::copy(std::vector<float>{-8.0F, 8.0F, 0.5F}, parameter->gradient.data<float>());
  }
  Optimizer(store, options_for("sgd")).step({.lr = 1.0, .momentum = 0.0, .step = 0});
  const auto values = [](const layers::Parameter& of) {
    const auto all = of.value.span<float>();
    return std::vector<float>(all.begin(), all.end());
  };
  EXPECT_EQ(values(bound), (std::vector<float>{1.0F, -1.0F, -0.5F}));
  EXPECT_EQ(values(free), (std::vector<float>{8.0F, -8.0F, -0.5F}));
}

}  // namespace
}  // namespace bitloom::train
