// The training loop on a tiny synthetic task: determinism, resume, refusal of a diverging run, and
// what is validated is what is exported.
#include "bitloom/train/loop.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "bitloom/datasets/normalization.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/train/evaluate.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kBatch = 32;

struct Task {
  Task()
      : options{.reader = "synthetic",
                .classes = 4,
                .validation_images = 64,
                .mean = {0.3F},
                .stddev = {0.3F},
                .synthetic_images = 320,
                .synthetic_test_images = 200,
                .synthetic_height = 12,
                .synthetic_width = 12,
                .synthetic_channels = 1},
        dataset(datasets::load_dataset(options)),
        normalization(datasets::normalization_table(options, 1)) {}
  datasets::DataOptions options;
  datasets::Dataset dataset;
  Tensor normalization;
};

layers::Graph tiny_graph() {
  return layers::Graph::parse(R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=8x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=8x8x3x3)
conv2 = conv2d(pool1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add1 = add(bn2, pool1)
relu2 = relu(add1)
gap = global_avg_pool(relu2)
flatten = flatten(gap)
fc.weight = parameter(shape=4x8)
fc = linear(flatten, fc.weight, bias=1)
)",
                              "tiny");
}

Checkpoint fresh(const Task& task, const std::string& method, const std::string& quantizer = "lsq",
                 const std::string& profile = "int8") {
  Checkpoint checkpoint(5);
  checkpoint.network = "tiny";
  checkpoint.method = method;
  checkpoint.profile = profile;
  checkpoint.config_text = "seed = 5\n";
  checkpoint.graph = tiny_graph();
  const layers::Network declared(checkpoint.graph, layers::float_layers(), checkpoint.parameters,
                                 {.batch = kBatch});
  if (method == "float") return checkpoint;
  const layers::Graph graph = quant::insert_fake_quant(
      checkpoint.graph,
      {.method = method, .quantizer = quantizer, .weight_bits = 4, .activation_bits = 4},
      integer::profile_named(profile), true);
  Tensor images(DType::kF32, Shape{kBatch, 1, 12, 12});
  datasets::normalize(task.dataset.validation.view(0, kBatch), task.normalization, images);
  checkpoint.graph = quant::calibrate(graph, checkpoint.parameters,
                                      [&](const auto& use) { use(images.view()); }, kBatch, {});
  return checkpoint;
}

LoopOptions options_for(std::vector<double>& losses, std::int64_t epochs = 2) {
  return {.train = {.epochs = epochs, .batch = kBatch, .lr = 0.05, .warmup_epochs = 0.5},
          .seed = 9,
          .on_step =
              [&losses](const Progress& progress) { losses.push_back(progress.position.loss_sum); },
          .save = [] {}};
}

void expect_same_tensors(const Checkpoint& a, const Checkpoint& b) {
  ASSERT_EQ(a.parameters.all().size(), b.parameters.all().size());
  for (const auto& [name, parameter] : a.parameters.all()) {
    const Tensor& other = b.parameters.at(name).value;
    ASSERT_EQ(parameter.value.bytes(), other.bytes()) << name;
    EXPECT_EQ(std::memcmp(parameter.value.raw(), other.raw(), other.bytes()), 0) << name;
  }
  // Nothing continues a finished run.
  EXPECT_TRUE(a.optimizer_slots.empty());
  EXPECT_TRUE(b.optimizer_slots.empty());
  ASSERT_EQ(a.averages.size(), b.averages.size());
  for (const auto& [name, average] : a.averages) {
    EXPECT_EQ(std::memcmp(average.raw(), b.averages.at(name).raw(), average.bytes()), 0) << name;
  }
}

struct LoopCase {
  const char* method;
  const char* quantizer;
  const char* forward;
};
void PrintTo(const LoopCase& c, std::ostream* out) {
  *out << c.method << "_" << c.quantizer << "_" << c.forward;
}

class LoopTest : public testing::TestWithParam<LoopCase> {};

TEST_P(LoopTest, LearnsAndRepeatsBitForBit) {
  const Task task;
  std::vector<double> first;
  std::vector<double> second;
  Checkpoint a = fresh(task, GetParam().method, GetParam().quantizer);
  Checkpoint b = fresh(task, GetParam().method, GetParam().quantizer);
  LoopOptions options = options_for(first, 4);
  options.forward = GetParam().forward;
  EXPECT_TRUE(run_loop(a, task.dataset, task.normalization, options));
  options.on_step = options_for(second, 4).on_step;
  EXPECT_TRUE(run_loop(b, task.dataset, task.normalization, options));
  ASSERT_EQ(first.size(), 32U);  // 8 steps an epoch: (320 - 64) / 32
  EXPECT_EQ(first, second);
  expect_same_tensors(a, b);
  EXPECT_LT(first.back(), 0.7 * first[7]);      // sums of the last and of the first epoch
  EXPECT_GT(a.position.validation_top1, 50.0);  // four classes: chance is 25
}

// Stopped in the middle of the second epoch, written to a file, read again and continued.
TEST_P(LoopTest, ResumedRunEndsLikeTheUninterruptedOne) {
  const Task task;
  std::vector<double> ignored;
  Checkpoint whole = fresh(task, GetParam().method, GetParam().quantizer);
  LoopOptions options = options_for(ignored, 3);
  options.forward = GetParam().forward;
  EXPECT_TRUE(run_loop(whole, task.dataset, task.normalization, options));

  const TempDir dir;
  const auto file = dir.path() / "checkpoint.h5";
  Checkpoint stopped = fresh(task, GetParam().method, GetParam().quantizer);
  int steps = 0;
  options.save = [&] { save_checkpoint(file, stopped); };
  options.should_stop = [&] { return ++steps == 11; };
  EXPECT_FALSE(run_loop(stopped, task.dataset, task.normalization, options));
  Checkpoint resumed = load_checkpoint(file);
  EXPECT_EQ(resumed.position.epoch, 1);
  EXPECT_EQ(resumed.position.step, 3);
  options.save = [] {};
  options.should_stop = nullptr;
  EXPECT_TRUE(run_loop(resumed, task.dataset, task.normalization, options));
  expect_same_tensors(whole, resumed);
  EXPECT_EQ(whole.position.validation_top1, resumed.position.validation_top1);
}

INSTANTIATE_TEST_SUITE_P(Methods, LoopTest,
                         testing::Values(LoopCase{"float", "lsq", "integer"},
                                         LoopCase{"qat", "lsq", "integer"},
                                         LoopCase{"qat", "ema", "integer"},
                                         LoopCase{"qat", "lsq", "float"}),
                         testing::PrintToStringParamName());

struct Recipe {
  const char* name;
  TrainOptions train;
};
void PrintTo(const Recipe& recipe, std::ostream* out) { *out << recipe.name; }

class RecipeTest : public testing::TestWithParam<Recipe> {
 protected:
  LoopOptions options() const {
    LoopOptions options = options_for(ignored_, 3);
    options.train = GetParam().train;
    options.train.epochs = 3;
    options.train.batch = kBatch;
    options.augment = {.pad = 1, .flip = true};
    return options;
  }
  mutable std::vector<double> ignored_;
};

// Every optimizer and schedule, stopped in the second epoch and continued from a file.
TEST_P(RecipeTest, ResumesBitForBit) {
  const Task task;
  Checkpoint whole = fresh(task, "qat");
  LoopOptions loop = options();
  EXPECT_TRUE(run_loop(whole, task.dataset, task.normalization, loop));
  EXPECT_GT(whole.position.validation_top1, 30.0);  // four classes: chance is 25

  const TempDir dir;
  const auto file = dir.path() / "checkpoint.h5";
  Checkpoint stopped = fresh(task, "qat");
  int steps = 0;
  loop.save = [&] { save_checkpoint(file, stopped); };
  loop.should_stop = [&] { return ++steps == 13; };
  EXPECT_FALSE(run_loop(stopped, task.dataset, task.normalization, loop));
  Checkpoint resumed = load_checkpoint(file);
  loop.save = [] {};
  loop.should_stop = nullptr;
  EXPECT_TRUE(run_loop(resumed, task.dataset, task.normalization, loop));
  expect_same_tensors(whole, resumed);
  EXPECT_EQ(whole.position.validation_top1, resumed.position.validation_top1);
}

INSTANTIATE_TEST_SUITE_P(
    Recipes, RecipeTest,
    testing::Values(
        Recipe{"adam_one_cycle", {.optimizer = "adam", .lr = 0.01, .schedule = "one-cycle"}},
        Recipe{"adamw_step",
               {.optimizer = "adamw", .lr = 0.01, .schedule = "step", .step_epochs = {1.0, 2.0}}},
        Recipe{"nesterov_clipped_smoothed",
               {.nesterov = true, .clip_norm = 1.0, .label_smoothing = 0.1}},
        Recipe{"averaged", {.schedule = "constant", .ema_decay = 0.9}}),
    testing::PrintToStringParamName());

TEST(Loop, ValidatesExportsAndStartsFromAveragedWeights) {
  const Task task;
  const TempDir dir;
  std::vector<double> ignored;
  LoopOptions options = options_for(ignored);
  Checkpoint last = fresh(task, "float");
  run_loop(last, task.dataset, task.normalization, options);
  EXPECT_TRUE(last.averages.empty());

  options.train.ema_decay = 0.9;
  Checkpoint averaged = fresh(task, "float");
  run_loop(averaged, task.dataset, task.normalization, options);
  // Averages watch the run and do not change it.
  for (const auto& [name, parameter] : last.parameters.all()) {
    const Tensor& other = averaged.parameters.at(name).value;
    EXPECT_EQ(std::memcmp(parameter.value.raw(), other.raw(), other.bytes()), 0) << name;
  }
  EXPECT_TRUE(averaged.averages.contains("conv1.weight"));
  EXPECT_TRUE(averaged.averages.contains("bn1.running_var"));

  save_checkpoint(dir.path() / "checkpoint.h5", averaged);
  const Checkpoint trained = load_trained(dir.path() / "checkpoint.h5");
  EXPECT_TRUE(trained.averages.empty());
  EXPECT_TRUE(trained.optimizer_slots.empty());
  const auto logits = [&](const Checkpoint& checkpoint) {
    return model_logits(lower_checkpoint(checkpoint, task.normalization), {.batch = 32},
                        task.dataset.validation);
  };
  const Tensor of_averages = logits(averaged);
  EXPECT_EQ(identical_share(of_averages, logits(trained)), 1.0);
  EXPECT_EQ(identical_share(of_averages, logits(last)), 0.0);
  EXPECT_EQ(top1_percent(of_averages, task.dataset.validation.labels),
            averaged.position.validation_top1);
}

TEST(Loop, RefusesContradictoryOptionsBeforeTheFirstStep) {
  const Task task;
  std::vector<double> losses;
  LoopOptions options = options_for(losses);
  options.train.schedule = "step";
  Checkpoint checkpoint = fresh(task, "float");
  EXPECT_ERROR(ConfigError, run_loop(checkpoint, task.dataset, task.normalization, options),
               "train.step_epochs");
  EXPECT_TRUE(losses.empty());
}

TEST(Loop, TellsHowLongItWaitedForBatches) {
  const Task task;
  std::vector<double> ignored;
  Checkpoint checkpoint = fresh(task, "float");
  LoopOptions options = options_for(ignored);
  std::vector<double> waits;
  options.on_step = [&](const Progress& progress) { waits.push_back(progress.loader_wait_ms); };
  run_loop(checkpoint, task.dataset, task.normalization, options);
  ASSERT_EQ(waits.size(), 16U);
  for (std::size_t i = 0; i < waits.size(); ++i) {
    EXPECT_GE(waits[i], i % 8 == 0 ? 0.0 : waits[i - 1]);  // grows within an epoch
  }
}

TEST(Loop, ExportedModelGivesTheReferencesLogitsAndTheSimulationsAnswers) {
  const Task task;
  for (const char* profile : {"int8", "int8-reduced"}) {
    SCOPED_TRACE(profile);
    std::vector<double> ignored;
    Checkpoint checkpoint = fresh(task, "qat", "lsq", profile);
    run_loop(checkpoint, task.dataset, task.normalization, options_for(ignored));
    const integer::Model model = lower_checkpoint(checkpoint, task.normalization);
    const Tensor onednn =
        model_logits(model, {.backend = "onednn", .batch = 50}, task.dataset.test);
    const Tensor reference =
        model_logits(model, {.backend = "reference", .batch = 64}, task.dataset.test);
    EXPECT_EQ(identical_share(onednn, reference), 1.0);
    layers::Network simulation(checkpoint.graph, quant::quantized_layers(), checkpoint.parameters,
                               {.batch = 50, .training = false});
    const Tensor simulated = network_logits(simulation, 50, task.normalization, task.dataset.test);
    EXPECT_GE(agreement_share(simulated, onednn), 0.98);  // 200 images
    EXPECT_GT(sqnr_db(simulated, onednn), 25.0);
  }
}

TEST(Loop, StopsWithPlaceWhenTheLossIsNotFinite) {
  const Task task;
  Checkpoint checkpoint = fresh(task, "float");
  std::vector<double> ignored;
  LoopOptions options = options_for(ignored);
  options.train.lr = 1e30;
  options.train.warmup_epochs = 0.0;
  int saves = 0;
  options.save = [&] { ++saves; };
  try {
    run_loop(checkpoint, task.dataset, task.normalization, options);
    FAIL() << "a diverging run went on";
  } catch (const NumericError& error) {
    EXPECT_NE(std::string(error.what()).find("epoch 1, step "), std::string::npos) << error.what();
  }
  EXPECT_EQ(saves, 0);
}

TEST(Checkpoint, RefusesNotANumberAndANewerSchema) {
  const Task task;
  const TempDir dir;
  Checkpoint checkpoint = fresh(task, "float");
  checkpoint.parameters.at("conv1.weight").value.data<float>()[3] = std::nanf("");
  save_checkpoint(dir.path() / "nan.h5", checkpoint);
  EXPECT_THROW(load_checkpoint(dir.path() / "nan.h5"), FormatError);
  io::save_archive(dir.path() / "newer.h5", Archive("bitloom.checkpoint", 2));
  EXPECT_THROW(load_checkpoint(dir.path() / "newer.h5"), FormatError);
  io::save_archive(dir.path() / "model.h5", Archive("bitloom.model", 1));
  EXPECT_THROW(load_checkpoint(dir.path() / "model.h5"), FormatError);
}

// A foreign reader: h5py opens the checkpoint and numpy recomputes its first layer.
TEST(Checkpoint, IsReadByPythonWhichRecomputesALayer) {
  if (std::system("/usr/bin/python3 -c 'import h5py, numpy' 2> /dev/null") != 0) {
    GTEST_SKIP() << "needs Debian's python3-h5py";
  }
  const Task task;
  const TempDir dir;
  std::vector<double> ignored;
  Checkpoint checkpoint = fresh(task, "qat");
  run_loop(checkpoint, task.dataset, task.normalization, options_for(ignored, 1));
  save_checkpoint(dir.path() / "checkpoint.h5", checkpoint);

  layers::Network network(quant::training_graph(checkpoint.graph, "integer"),
                          quant::quantized_layers(), checkpoint.parameters,
                          {.batch = kBatch, .training = false, .keep_all_tensors = true});
  Tensor images(DType::kF32, Shape{kBatch, 1, 12, 12});
  datasets::normalize(task.dataset.test.view(0, kBatch), task.normalization, images);
  network.forward(images, layers::Phase::kEvaluate);
  const layers::Edge& edge = network.edge("input.q");
  Tensor source(DType::kF32, edge.shape);
  kernels::dequantize(network.tensor("input.q").raw(),
                      {.rows = 1,
                       .cols = source.elements(),
                       .scale = edge.scale,
                       .scale_per_row = false,
                       .format = edge.format},
                      source.data<float>());
  Tensor result(DType::kF32, network.edge("conv1").shape);
  copy(network.tensor("conv1"), result);
  Archive probe("bitloom.probe", 1);
  probe.put("source", std::move(source), "NHWC");
  probe.put("result", std::move(result), "NHWC");
  io::save_archive(dir.path() / "probe.h5", probe);
  const std::string command =
      cat("/usr/bin/python3 " BITLOOM_SOURCE_DIR "/tests/train/recompute_layer.py ",
          (dir.path() / "checkpoint.h5").string(), " ", (dir.path() / "probe.h5").string());
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
}

TEST(Measures, OnHandWorkedRows) {
  const Tensor a = make_tensor<float>(Shape{2, 3}, std::vector<float>{1, 3, 2, 5, 5, 0});
  const Tensor b = make_tensor<float>(Shape{2, 3}, std::vector<float>{1, 3, 2, 5, 6, 0});
  const std::vector<std::int32_t> labels = {1, 0};
  EXPECT_EQ(count_correct(a, labels), 2);  // the tie of row 1 takes the lowest index
  EXPECT_EQ(top1_percent(b, labels), 50.0);
  EXPECT_EQ(identical_share(a, b), 0.5);
  EXPECT_EQ(agreement_share(a, b), 0.5);
  EXPECT_NEAR(sqnr_db(a, b), 10.0 * std::log10(64.0 / 1.0), 1e-9);
  EXPECT_TRUE(std::isinf(sqnr_db(a, a)));
}

}  // namespace
}  // namespace bitloom::train
