#include "bitloom/train/schedule.h"

#include <gtest/gtest.h>

#include "support/error_matchers.h"

namespace bitloom::train {
namespace {

double lr_at(const TrainOptions& options, std::int64_t step) {
  return rates_at(options, step, 30, 10).lr;
}

TEST(Schedule, CosineWarmsUpThenFalls) {
  const TrainOptions options{.lr = 0.8, .lr_final_ratio = 0.25, .warmup_epochs = 0.5};
  // 10 steps an epoch, 3 epochs: warm-up of 5 steps, then 25 steps of cosine.
  EXPECT_DOUBLE_EQ(lr_at(options, 0), 0.8 / 5.0);
  EXPECT_DOUBLE_EQ(lr_at(options, 4), 0.8);
  EXPECT_DOUBLE_EQ(lr_at(options, 5), 0.8);
  EXPECT_NEAR(lr_at(options, 30), 0.2, 1e-12);
  EXPECT_NEAR(rates_at({.lr = 1.0, .warmup_epochs = 0.0}, 5, 10, 10).lr, 0.5, 1e-12);
  EXPECT_EQ(rates_at({.momentum = 0.7}, 5, 10, 10).momentum, 0.7);
}

TEST(Schedule, StepFallsAtItsEpochsBehindTheWarmUp) {
  const TrainOptions options{.lr = 0.8,
                             .schedule = "step",
                             .warmup_epochs = 0.2,
                             .step_epochs = {1.0, 2.5},
                             .step_gamma = 0.5};
  EXPECT_DOUBLE_EQ(lr_at(options, 0), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(options, 9), 0.8);
  EXPECT_DOUBLE_EQ(lr_at(options, 10), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(options, 24), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(options, 25), 0.2);
}

TEST(Schedule, ConstantStaysAfterTheWarmUp) {
  const TrainOptions options{.lr = 0.8, .schedule = "constant", .warmup_epochs = 0.2};
  EXPECT_DOUBLE_EQ(lr_at(options, 0), 0.4);
  EXPECT_DOUBLE_EQ(lr_at(options, 1), 0.8);
  EXPECT_DOUBLE_EQ(lr_at(options, 29), 0.8);
}

// p = 0.5 * 30 - 1 = 14.
TEST(Schedule, OneCycleRisesAndFallsWhileTheMomentumDoesTheOpposite) {
  const TrainOptions options{.lr = 0.8, .schedule = "one-cycle", .cycle_rise = 0.5};
  EXPECT_NEAR(lr_at(options, 0), 0.032, 1e-12);
  EXPECT_NEAR(lr_at(options, 7), (0.032 + 0.8) / 2, 1e-12);
  EXPECT_NEAR(lr_at(options, 14), 0.8, 1e-12);
  EXPECT_NEAR(lr_at(options, 29), 0.0, 1e-12);
  EXPECT_NEAR(rates_at(options, 14, 30, 10).momentum, 0.85, 1e-12);
  EXPECT_NEAR(rates_at(options, 29, 30, 10).momentum, 0.9, 1e-12);
}

// Runs of one step and rises of nothing or of everything have finite rates.
TEST(Schedule, ShortRunsHaveFiniteRates) {
  for (const std::string& word : schedule_words()) {
    for (const double rise : {0.0, 0.01, 1.0}) {
      for (const std::int64_t steps : {1, 2, 3}) {
        for (std::int64_t t = 0; t < steps; ++t) {
          const TrainOptions options{.lr = 0.8, .schedule = word, .cycle_rise = rise};
          const StepRates rates = rates_at(options, t, steps, 1);
          EXPECT_TRUE(rates.lr >= 0.0 && rates.lr <= 0.8) << word << " " << rise << " " << rates.lr;
          EXPECT_TRUE(rates.momentum >= 0.85 && rates.momentum <= 0.9) << word << " " << rise;
        }
      }
    }
  }
}

TEST(Schedule, RefusesAnUnknownWord) {
  EXPECT_ERROR(ConfigError, rates_at({.schedule = "cosin"}, 0, 1, 1), "train.schedule", "'cosin'");
}

TEST(TrainOptions, NameWhatContradictsItself) {
  const auto text_of = [](const TrainOptions& options) {
    std::string text;
    for (const ErrorText& one : contradictions(options)) text += to_string(one) + "\n";
    return text;
  };
  using ::testing::HasSubstr;
  EXPECT_EQ(text_of({}), "");
  EXPECT_EQ(text_of({.schedule = "step", .step_epochs = {1, 2}, .nesterov = true}), "");
  EXPECT_THAT(text_of({.schedule = "step"}), HasSubstr("train.step_epochs: expected at least one"));
  EXPECT_THAT(text_of({.step_epochs = {3}}), HasSubstr("nothing unless train.schedule = step"));
  EXPECT_THAT(text_of({.schedule = "step", .step_epochs = {2, 2}}), HasSubstr("rising numbers"));
  EXPECT_THAT(text_of({.optimizer = "adam", .nesterov = true}), HasSubstr("train.nesterov"));
  EXPECT_THAT(text_of({.momentum = 0.0, .nesterov = true}), HasSubstr("train.nesterov"));
  EXPECT_THAT(text_of({.schedule = "one-cycle", .momentum = 0.5}),
              HasSubstr("train.cycle_low_momentum: expected at most train.momentum = 0.5"));
}

}  // namespace
}  // namespace bitloom::train
