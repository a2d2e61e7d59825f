// Optimizers, clipping, averages, schedules and label smoothing against PyTorch;
// tools/golden/optim.py says what is stored and within what tolerance it holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"
#include "bitloom/train/average.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/schedule.h"

namespace bitloom::train {
namespace {

const Archive& golden() {
  static const Archive archive = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/optim.h5");
  return archive;
}

/// Largest difference, as a share of the largest wanted value.
double distance(std::span<const float> found, std::span<const float> wanted) {
  double largest = 0.0;
  double difference = 0.0;
  for (std::size_t i = 0; i < wanted.size(); ++i) {
    largest = std::max(largest, std::abs(double{wanted[i]}));
    difference = std::max(difference, std::abs(double{wanted[i]} - double{found[i]}));
  }
  return difference / largest;
}

struct Case {
  const char* name;
  TrainOptions options;
};
void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

class Trajectory : public ::testing::TestWithParam<Case> {};

TEST_P(Trajectory, FollowsPyTorchStepByStep) {
  constexpr std::size_t kWeights = 12;
  const std::string path = cat("steps/", GetParam().name);
  const auto rows = [&](const char* word, std::size_t row, std::size_t count) {
    return golden().tensor(cat(path, "/", word)).span<float>().subspan(row * 15, count);
  };
  TrainOptions options = GetParam().options;
  options.weight_decay = golden().real(path, "decay");
  options.clip_norm = golden().real(path, "clip");
  options.ema_decay = golden().real(path, "ema");
  layers::ParameterStore store(1);
  auto& weight = store.declare("weight", Shape{12}, layers::Role::kWeight, {});
  auto& bias = store.declare("bias", Shape{3}, layers::Role::kBias, {});
  const auto fill = [&](std::span<const float> all, Tensor& first, Tensor& second) {
    std::copy_n(all.begin(), kWeights, first.data<float>());
    std::copy_n(all.begin() + kWeights, 3, second.data<float>());
  };
  fill(rows("start", 0, 15), weight.value, bias.value);
  Averages averages = start_averages(store);
  Optimizer optimizer(store, options);
  std::int64_t compared = 0;
  for (std::size_t step = 0; step < 10; ++step) {
    fill(rows("gradient", step, 15), weight.gradient, bias.gradient);
    optimizer.step(
        {.lr = 0.1, .momentum = options.momentum, .step = static_cast<std::int64_t>(step)});
    const auto wanted = rows("weight", step, 15);
    EXPECT_LT(distance(weight.value.span<float>(), wanted.first(kWeights)), 1e-6) << step;
    EXPECT_LT(distance(bias.value.span<float>(), wanted.subspan(kWeights)), 1e-6) << step;
    ++compared;
    if (options.ema_decay == 0.0) continue;
    update_averages(store, options.ema_decay, averages);
    const auto average = rows("average", step, 15);
    EXPECT_LT(distance(averages.at("weight").span<float>(), average.first(kWeights)), 1e-6);
    EXPECT_LT(distance(averages.at("bias").span<float>(), average.subspan(kWeights)), 1e-6);
  }
  EXPECT_EQ(compared, 10);
}

INSTANTIATE_TEST_SUITE_P(
    Rules, Trajectory,
    ::testing::Values(Case{"sgd", {}}, Case{"nesterov", {.nesterov = true}},
                      Case{"adam", {.optimizer = "adam", .beta2 = 0.99, .adam_epsilon = 1e-6}},
                      Case{"adamw", {.optimizer = "adamw", .beta2 = 0.99, .adam_epsilon = 1e-6}},
                      Case{"clip", {}}, Case{"average", {}}),
    ::testing::PrintToStringParamName());

void expect_schedule(const std::string& name, const TrainOptions& options) {
  const auto lr = golden().tensor(cat("schedule/", name, "/lr")).span<double>();
  const auto momentum = golden().tensor(cat("schedule/", name, "/momentum")).span<double>();
  ASSERT_EQ(lr.size(), 40U);
  for (std::size_t t = 0; t < lr.size(); ++t) {
    const StepRates rates = rates_at(options, static_cast<std::int64_t>(t), 40, 5);
    EXPECT_NEAR(rates.lr, lr[t], 1e-12) << name << " " << t;
    EXPECT_NEAR(rates.momentum, momentum[t], 1e-12) << name << " " << t;
    EXPECT_EQ(rates.step, static_cast<std::int64_t>(t));
  }
}

TEST(ScheduleGolden, FollowsPyTorchsSchedulers) {
  expect_schedule("cosine", {.lr = 0.8, .lr_final_ratio = 0.25, .warmup_epochs = 0.0});
  expect_schedule("step", {.lr = 0.8,
                           .schedule = "step",
                           .warmup_epochs = 0.0,
                           .step_epochs = {2.0, 5.0},  // 5 steps an epoch
                           .step_gamma = 0.3});
  expect_schedule("one-cycle",
                  {.lr = 0.8, .schedule = "one-cycle", .lr_final_ratio = 1.0 / 25.0 / 1e4});
}

TEST(LabelSmoothingGolden, LossAndGradientArePyTorchs) {
  const Tensor& logits = golden().tensor("smoothing/logits");
  const Tensor& wanted = golden().tensor("smoothing/gradient");
  Tensor gradient(DType::kF32, logits.shape());
  const double loss = layers::softmax_cross_entropy(
      logits, golden().tensor("smoothing/labels").span<std::int32_t>(), gradient,
      static_cast<float>(golden().real("smoothing", "smoothing")));
  EXPECT_NEAR(loss, golden().real("smoothing", "loss"), 1e-6);
  EXPECT_LT(distance(gradient.span<float>(), wanted.span<float>()), 1e-6);
}

}  // namespace
}  // namespace bitloom::train
