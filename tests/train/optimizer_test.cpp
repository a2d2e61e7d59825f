#include "bitloom/train/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::train {
namespace {

using layers::ParameterStore;
using layers::Role;

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

const TrainOptions kOptions{.momentum = 0.5, .weight_decay = 0.1, .scale_lr_ratio = 0.25};

constexpr StepRates at(double lr, std::int64_t step = 0) {
  return {.lr = lr, .momentum = 0.5, .step = step};
}

TrainOptions options_of(const std::string& optimizer) {
  TrainOptions options = kOptions;
  options.optimizer = optimizer;
  return options;
}

// v1 = g + 0.1 * w = 0.6; w1 = 1 - 0.1 * 0.6 = 0.94; v2 = 0.3 + 0.5 + 0.094 = 0.894;
// w2 = 0.94 - 0.0894 = 0.8506.
TEST(Optimizer, SgdFollowsTheHandWorkedSteps) {
  Stepped stepped(Role::kWeight);
  Optimizer sgd(stepped.store, kOptions);
  sgd.step(at(0.1));
  EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.94F, 1e-6F);
  sgd.step(at(0.1, 1));
  EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.8506F, 1e-6F);
}

TEST(Optimizer, SparesBiasesNormsAndScalesFromDecay) {
  for (const Role role : {Role::kBias, Role::kNormScale, Role::kNormShift}) {
    Stepped stepped(role);
    Optimizer(stepped.store, kOptions).step(at(0.1));
    EXPECT_NEAR(stepped.parameter.value.data<float>()[0], 0.95F, 1e-6F) << to_word(role);
  }
  for (const Role role : {Role::kQuantizerScale, Role::kQuantizerOffset}) {
    Stepped scale(role);
    Optimizer(scale.store, kOptions).step(at(0.01));
    EXPECT_NEAR(scale.parameter.value.data<float>()[0], 1.0F - 0.01F * 0.25F * 0.5F, 1e-6F);
  }
}

// Sgd's plain step would take the second scale to 1 + 0.25 * 100 * 2 = 51 and the first to -11.5;
// adam's first step is the learning rate itself, whatever the gradient: 1 - 25 and 1 + 25.
TEST(Optimizer, MovesAScaleByAHundredthAtMostWhateverTheRule) {
  for (const std::string& word : optimizer_words()) {
    Stepped scale(Role::kQuantizerScale);
    Optimizer optimizer(scale.store, options_of(word));
    optimizer.step(at(100.0));
    EXPECT_FLOAT_EQ(scale.parameter.value.data<float>()[0], 0.99F) << word;
    EXPECT_FLOAT_EQ(scale.parameter.value.data<float>()[1], 1.01F) << word;
    optimizer.step(at(100.0, 1));
    EXPECT_FLOAT_EQ(scale.parameter.value.data<float>()[0], 0.9801F) << word;
  }
}

TEST(Optimizer, AnOffsetMayMoveThroughZero) {
  Stepped offset(Role::kQuantizerOffset);
  Optimizer(offset.store, kOptions).step(at(100.0));
  EXPECT_FLOAT_EQ(offset.parameter.value.data<float>()[0], -11.5F);
}

TEST(Optimizer, LeavesStatisticsAlone) {
  for (const std::string& word : optimizer_words()) {
    for (const Role role : {Role::kStatistic, Role::kQuantizerState}) {
      Stepped stepped(role);
      Optimizer optimizer(stepped.store, options_of(word));
      EXPECT_TRUE(optimizer.slots().empty());
      optimizer.step(at(0.1));
      EXPECT_EQ(stepped.parameter.value.data<float>()[0], 1.0F);
    }
  }
}

// |g| = sqrt(0.25 + 4) = 2.0616: clipped to half of it, every step is half as long.
TEST(Optimizer, ClipsTheNormOfAllGradients) {
  Stepped plain(Role::kBias);
  Optimizer(plain.store, kOptions).step(at(0.1));
  TrainOptions options = kOptions;
  options.clip_norm = std::sqrt(4.25) / 2;
  Stepped clipped(Role::kBias);
  Optimizer(clipped.store, options).step(at(0.1));
  for (int i = 0; i < 2; ++i) {
    EXPECT_NEAR(1.0F - clipped.parameter.value.data<float>()[i],
                (1.0F - plain.parameter.value.data<float>()[i]) / 2, 1e-6F);
  }
  options.clip_norm = 3.0;  // above the norm: nothing changes
  Stepped free(Role::kBias);
  Optimizer(free.store, options).step(at(0.1));
  EXPECT_EQ(free.parameter.value.data<float>()[0], plain.parameter.value.data<float>()[0]);
}

TEST(Optimizer, RestoresItsSlotsAndRefusesForeignOnes) {
  for (const std::string& word : optimizer_words()) {
    Stepped stepped(Role::kWeight);
    Optimizer first(stepped.store, options_of(word));
    first.step(at(0.1));
    Optimizer second(stepped.store, options_of(word));
    second.restore(first.slots(), "file.h5");
    for (const auto& [name, slot] : first.slots()) {
      EXPECT_EQ(second.slots().at(name).data<float>()[1], slot.data<float>()[1]) << name;
      EXPECT_NE(slot.data<float>()[1], 0.0F) << name;
    }
    std::map<std::string, Tensor> slots;
    EXPECT_ERROR(FormatError, second.restore(slots, "file.h5"), "file.h5: optimizer/", "nothing");
    for (const auto& [name, slot] : first.slots()) {
      slots.emplace(name, Tensor(DType::kF32, Shape{3}));
    }
    EXPECT_ERROR(FormatError, second.restore(slots, "file.h5"), "expected [2], found [3]");
  }
}

TEST(Optimizer, RefusesAnUnknownRule) {
  Stepped stepped(Role::kWeight);
  EXPECT_ERROR(ConfigError, Optimizer(stepped.store, options_of("adm")), "train.optimizer",
               "'adm'");
}

}  // namespace
}  // namespace bitloom::train
