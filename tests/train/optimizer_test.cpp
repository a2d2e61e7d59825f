#include "bitloom/train/optimizer.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"

namespace bitloom::train {
namespace {

using layers::ParameterStore;
using layers::Role;

TEST(LearningRate, WarmsUpThenFollowsACosine) {
  TrainOptions options{.lr = 0.8, .lr_final_ratio = 0.25, .warmup_epochs = 0.5};
  // 10 steps an epoch, 3 epochs: warm-up of 5 steps, then 25 steps of cosine.
  EXPECT_DOUBLE_EQ(learning_rate(options, 0, 30, 10), 0.8 / 5.0);
  EXPECT_DOUBLE_EQ(learning_rate(options, 4, 30, 10), 0.8);
  EXPECT_DOUBLE_EQ(learning_rate(options, 5, 30, 10), 0.8);
  EXPECT_NEAR(learning_rate(options, 30, 30, 10), 0.2, 1e-12);
  EXPECT_NEAR(learning_rate({.lr = 1.0, .warmup_epochs = 0.0}, 5, 10, 10), 0.5, 1e-12);
}

struct Stepped {
  explicit Stepped(Role role) : parameter(store.declare("p", Shape{2}, role, {.constant = 1.0F})) {
    if (layers::is_trainable(role)) {
      parameter.gradient.data<float>()[0] = 0.5F;
      parameter.gradient.data<float>()[1] = -2.0F;
    }
  }
  ParameterStore store{1};
  layers::Parameter& parameter;
};

constexpr TrainOptions kOptions{.momentum = 0.5, .weight_decay = 0.1, .scale_lr_ratio = 0.25};

// v1 = g + 0.1 * w = 0.6; w1 = 1 - 0.1 * 0.6 = 0.94; v2 = 0.3 + 0.5 + 0.094 = 0.894;
// w2 = 0.94 - 0.0894 = 0.8506.
TEST(Sgd, FollowsTheHandWorkedSteps) {
  Stepped stepped(Role::kWeight);
  Sgd sgd(stepped.store, kOptions);
  sgd.step(0.1);
  EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.94F, 1e-6F);
  sgd.step(0.1);
  EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.8506F, 1e-6F);
}

TEST(Sgd, SparesBiasesNormsAndScalesFromDecay) {
  for (const Role role : {Role::kBias, Role::kNormScale, Role::kNormShift}) {
    Stepped stepped(role);
    Sgd(stepped.store, kOptions).step(0.1);
    EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.95F, 1e-6F) << to_word(role);
  }
  Stepped scale(Role::kQuantizerScale);
  Sgd(scale.store, kOptions).step(0.1);
  EXPECT_NEAR(scale.parameter.value.data<float>()[0], 1.0F - 0.1F * 0.25F * 0.5F, 1e-6F);
}

// The second scale's plain step would be 1 + 0.25 * 100 * 2 = 51, the first one's -11.5.
TEST(Sgd, MovesAScaleByATenthAtMost) {
  Stepped scale(Role::kQuantizerScale);
  Sgd(scale.store, kOptions).step(100.0);
  EXPECT_FLOAT_EQ(scale.parameter.value.data<float>()[0], 0.9F);
  EXPECT_FLOAT_EQ(scale.parameter.value.data<float>()[1], 1.1F);
}

TEST(Sgd, LeavesStatisticsAlone) {
  for (const Role role : {Role::kStatistic, Role::kQuantizerState}) {
    Stepped stepped(role);
    Sgd sgd(stepped.store, kOptions);
    EXPECT_TRUE(sgd.slots().empty());
    sgd.step(0.1);
    EXPECT_EQ(stepped.parameter.value.data<float>()[0], 1.0F);
  }
}

TEST(Sgd, RefusesForeignSlots) {
  Stepped stepped(Role::kWeight);
  Sgd sgd(stepped.store, kOptions);
  std::map<std::string, Tensor> slots;
  EXPECT_THROW(sgd.restore(slots, "file.h5"), FormatError);
  slots.emplace("p", Tensor(DType::kF32, Shape{3}));
  EXPECT_THROW(sgd.restore(slots, "file.h5"), FormatError);
}

}  // namespace
}  // namespace bitloom::train
