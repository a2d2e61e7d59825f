// Recipes as a user writes them: contradictory keys, averaged weights from run to run, the row of
// an epoch.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "bitloom/core/cpu.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::trainers {
namespace {

using ::testing::HasSubstr;

Config small_config(const std::vector<std::string>& more) {
  std::vector<std::string> overrides = {"data.reader=synthetic",
                                        "data.synthetic_images=160",
                                        "data.synthetic_test_images=20",
                                        "data.synthetic_height=12",
                                        "data.synthetic_width=12",
                                        "data.synthetic_channels=3",
                                        "data.validation_images=32",
                                        "data.classes=4",
                                        "model.network=resnet8",
                                        "quant.calibration_images=32",
                                        "train.batch=32",
                                        "train.epochs=1"};
  overrides.insert(overrides.end(), more.begin(), more.end());
  return with_overrides(Config(), overrides);
}

TEST(TrainConfig, TellsContradictionsWithAllOtherMistakes) {
  EXPECT_ERROR(ConfigError, with_overrides(Config(), {"train.schedule=step"}),
               "train.step_epochs: expected at least one epoch");
  EXPECT_ERROR(ConfigError,
               with_overrides(Config(), {"train.optimizer=adam", "train.nesterov=true",
                                         "train.step_epochs=3"}),
               "2 errors", "train.nesterov", "train.step_epochs");
  EXPECT_ERROR(ConfigError, with_overrides(Config(), {"train.optimizer=adma"}),
               "one of sgd, adam, adamw");
  EXPECT_ERROR(ConfigError, with_overrides(Config(), {"train.schedule=cosin"}),
               "one of cosine, step, one-cycle, constant");
  EXPECT_ERROR(ConfigError, with_overrides(Config(), {"train.ema_decay=1"}), "0 .. 0.999999");
  const Config config = with_overrides(
      Config(), {"train.schedule=step", "train.step_epochs=30,45.5", "train.nesterov=true"});
  EXPECT_EQ(config.train.step_epochs, (std::vector<double>{30.0, 45.5}));
  EXPECT_EQ(config_from_ini(to_ini(config), "again").train.step_epochs, config.train.step_epochs);
}

/// Same bytes in every parameter of `wanted`.
void expect_same_values(const train::Checkpoint& found, const train::Checkpoint& wanted) {
  for (const auto& [name, parameter] : wanted.parameters.all()) {
    const Tensor& other = found.parameters.at(name).value;
    ASSERT_EQ(other.bytes(), parameter.value.bytes()) << name;
    EXPECT_EQ(std::memcmp(other.raw(), parameter.value.raw(), other.bytes()), 0) << name;
  }
}

TEST(TrainCommand, StartsFromTheAveragedWeightsOfAnotherRunAndTellsItsWaits) {
  const TempDir dir;
  const TrainResult first =
      train({.config = small_config({"train.ema_decay=0.9"}), .out = dir / "first"});
  const train::Checkpoint whole = train::load_checkpoint(first.checkpoint);
  const train::Checkpoint averaged = train::load_trained(first.checkpoint);
  EXPECT_FALSE(whole.averages.empty());
  EXPECT_NE(std::memcmp(whole.parameters.at("fc.weight").value.raw(),
                        averaged.parameters.at("fc.weight").value.raw(), 64),
            0);
  EXPECT_THAT(io::read_whole_file(dir / "first/epochs.jsonl"), HasSubstr("\"loader_wait_ms\":"));

  const TrainResult second = train({.config = small_config({"train.epochs=0"}),
                                    .out = dir / "second",
                                    .init = first.checkpoint});
  expect_same_values(train::load_checkpoint(second.checkpoint), averaged);

  quantize({.checkpoint = first.checkpoint,
            .config = small_config({"quant.method=ptq-static"}),
            .out = dir / "ptq.h5"});
  const train::Checkpoint quantized = train::load_checkpoint(dir / "ptq.h5");
  EXPECT_TRUE(quantized.averages.empty());
  expect_same_values(quantized, averaged);
}

TEST(TrainCommand, ResumesInAnotherPrecisionIfAsked) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  const TempDir dir;
  const auto stop_at_once = [](const StepReport&) { request_stop(); };
  const TrainResult stopped = train({.config = small_config({"train.precision=bf16"}),
                                     .out = dir / "run",
                                     .watcher = stop_at_once});
  ASSERT_TRUE(stopped.interrupted);
  EXPECT_EQ(train::load_checkpoint(stopped.checkpoint).environment.precision, "bf16");
  const auto resume = [&](const std::string& precision, const StepWatcher& watcher) {
    train({.out = dir / "run", .resume = true, .precision = precision, .watcher = watcher});
    return train::load_checkpoint(stopped.checkpoint).environment.precision;
  };
  EXPECT_EQ(resume("", stop_at_once), "bf16") << "the run's own";
  EXPECT_EQ(resume("f32", {}), "f32");
}

}  // namespace
}  // namespace bitloom::trainers
