// The training benchmark: what its row says, what its counter counts, which options it refuses.
#include "bench_training.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <new>

#include "allocation_count.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/tensor.h"
#include "bitloom/trainers/benchmark_run.h"
#include "bitloom/trainers/config_keys.h"
#include "measure.h"
#include "support/error_matchers.h"

namespace bitloom::tools {
namespace {

const Command& bench() {
  for (const Command& entry : command_table()) {
    if (entry.name == "bench") return entry;
  }
  throw ConfigError("no command bench");
}

Arguments training(std::vector<std::string> words) {
  words.insert(words.begin(), "--training");
  return parse_arguments(bench(), words);
}

trainers::Config config_of(const std::vector<std::string>& words) {
  return training_bench_config(training(words));
}

/// Small enough for a unit test; every residual kind of node is in it.
const std::vector<std::string>& tiny() {
  static const std::vector<std::string> words = {"--network", "resnet8", "--image-size", "8",
                                                 "--batch",   "4",       "--classes",    "3"};
  return words;
}

std::vector<std::string> tiny_and(const std::vector<std::string>& more) {
  std::vector<std::string> words = tiny();
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

TEST(AllocationCount, CountsEveryFormAndTensors) {
  if (!counts_allocations()) GTEST_SKIP() << "the sanitizer's operators count nothing";
  const auto ours_of = [](const auto& body) {
    const std::int64_t before = allocation_count().ours;
    body();
    return allocation_count().ours - before;
  };
  // Called by name: a new-expression may be optimised away.
  EXPECT_EQ(ours_of([] { ::operator delete(::operator new(8)); }), 1);
  EXPECT_EQ(ours_of([] { ::operator delete[](::operator new[](8)); }), 1);
  EXPECT_EQ(ours_of([] { ::operator delete(::operator new(8, std::nothrow)); }), 1);
  constexpr std::align_val_t kLine{64};
  EXPECT_EQ(ours_of([&] { ::operator delete(::operator new(8, kLine), kLine); }), 1);
  EXPECT_EQ(ours_of([] { const Tensor tensor(DType::kF32, Shape{3}); }), 1);
  EXPECT_EQ(ours_of([] {}), 0);
}

TEST(AllocationCount, HandsOutAlignedMemory) {
  for (const std::size_t alignment : {std::size_t{64}, std::size_t{4096}}) {
    const std::align_val_t wanted{alignment};
    void* memory = ::operator new(0, wanted);
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignment, 0U);
    ::operator delete(memory, wanted);
  }
}

/// On one thread, as tests run side by side; memory counts from here, as in the program.
class TrainingBench : public ::testing::Test {
 protected:
  TrainingBench() {
    set_threads(1);
    static_cast<void>(startup_memory());
  }
};

TEST_F(TrainingBench, ConfigFollowsTheNetworkAndTheOptions) {
  const trainers::Config plain = config_of({});
  EXPECT_EQ(plain.model.network, "lenet5");
  EXPECT_EQ(plain.quant.method, "float");
  EXPECT_EQ(plain.train.batch, 128);
  EXPECT_EQ(plain.data.synthetic_channels, 1);
  EXPECT_EQ(plain.data.synthetic_height, 28);

  const trainers::Config qat =
      config_of({"--network", "resnet20", "--method", "qat", "--weight-bits", "4",
                 "--activation-bits", "3", "--forward", "float", "--batch", "7",
                 "--quant.quantizer=ema", "--train.lr=0.5", "--seed=9", "--threads=1"});
  EXPECT_EQ(qat.quant.weight_bits, 4);
  EXPECT_EQ(qat.quant.activation_bits, 3);
  EXPECT_EQ(qat.quant.forward, "float");
  EXPECT_EQ(qat.quant.quantizer, "ema");
  EXPECT_EQ(qat.train.batch, 7);
  EXPECT_EQ(qat.train.lr, 0.5);
  EXPECT_EQ(qat.seed, 9U);
  EXPECT_EQ(qat.threads, 1);
  EXPECT_EQ(qat.data.synthetic_channels, 3);
  EXPECT_EQ(qat.data.synthetic_width, 32);
  EXPECT_EQ(config_of({"--network", "resnet20", "--image-size", "64"}).data.synthetic_height, 64);
}

TEST_F(TrainingBench, RefusesWhatWouldChangeNothing) {
  EXPECT_ERROR(ConfigError, config_of({"--weight-bits", "4"}), "--weight-bits", "--method qat");
  EXPECT_ERROR(ConfigError, config_of({"--forward", "float"}), "--forward", "--method qat");
  EXPECT_ERROR(ConfigError, config_of({"--method", "float", "--quant.quantizer=ema"}),
               "--quant.quantizer=ema", "--method qat");
  EXPECT_ERROR(ConfigError, config_of({"--method", "qat", "--quant.distill_weight=0.5"}),
               "it would change nothing here");
  EXPECT_ERROR(ConfigError, config_of({"--method", "qat", "--weight-bits", "9"}),
               "quant.weight_bits", "1 .. 8");
  EXPECT_ERROR(ConfigError, config_of({"--batch", "0"}), "train.batch");
  EXPECT_ERROR(ConfigError, config_of({"--image-size", "0"}), "--image-size", "1 .. 1024");
  EXPECT_ERROR(ConfigError, run_bench(training({"--model", "m.h5"})), "--model", "--training");
  EXPECT_ERROR(ConfigError, run_bench(training({"--runs", "5"})), "--runs", "--training");
  EXPECT_ERROR(ConfigError,
               run_bench(parse_arguments(bench(), {"--model", "m.h5", "--steps", "3"})), "--steps",
               "--training");
  EXPECT_ERROR(ConfigError,
               run_bench(parse_arguments(bench(), {"--model", "m.h5", "--train.lr=1"})), "train.lr",
               "--training");
  EXPECT_ERROR(ConfigError, run_bench(parse_arguments(bench(), {})), "--model FILE", "--training",
               "bitloom bench --help");
}

TEST_F(TrainingBench, ItsKeysAreKeys) {
  std::vector<std::string> known;
  for (const trainers::KeyHelp& key : trainers::config_keys()) known.push_back(key.name);
  std::size_t sectioned = 0;
  for (const std::string& key : training_bench_keys()) {
    if (key.empty()) continue;
    EXPECT_NE(std::find(known.begin(), known.end(), key), known.end()) << key;
    ++sectioned;
  }
  EXPECT_GE(sectioned, 10U);
}

TEST_F(TrainingBench, NetworkAndMethodMustTrain) {
  EXPECT_ERROR(ConfigError, trainers::BenchmarkRun(config_of({"--network", "lenet6"})), "lenet5",
               "lenet6");
  EXPECT_ERROR(ConfigError, trainers::BenchmarkRun(config_of({"--method", "ptq-static"})),
               "float or qat", "ptq-static");
}

TEST_F(TrainingBench, RowHoldsWhatWasMeasured) {
  const nlohmann::json row =
      measure_training(
          config_of(tiny_and({"--method", "qat", "--weight-bits", "4", "--activation-bits", "5"})),
          {.steps = 4})
          .row;
  EXPECT_EQ(row["network"], "resnet8");
  EXPECT_EQ(row["method"], "qat");
  EXPECT_EQ(row["quantizer"], "lsq");
  EXPECT_EQ(row["weight_bits"], 4);
  EXPECT_EQ(row["activation_bits"], 5);
  EXPECT_EQ(row["forward"], "integer");
  EXPECT_EQ(row["precision"], "f32");
  EXPECT_EQ(row["batch"], 4);
  EXPECT_EQ(row["steps"], 4);
  EXPECT_EQ(row["image_size"], 8);
  EXPECT_EQ(row["classes"], 3);
  for (const char* key : {"threads", "isa", "device", "commit", "seed", "config_hash"}) {
    EXPECT_TRUE(row.contains(key)) << key;
  }
  const auto p50 = row["step_ms_p50"].get<double>();
  EXPECT_GT(row["step_ms_p10"].get<double>(), 0.0);
  EXPECT_LE(row["step_ms_p10"].get<double>(), p50);
  EXPECT_GE(row["step_ms_p90"].get<double>(), p50);
  EXPECT_NEAR(row["images_per_second"].get<double>() * p50, 4000.0, 1e-6);
  EXPECT_GT(row["peak_memory_bytes"].get<double>(), 0.0);
  EXPECT_FALSE(row.contains("layers"));
  EXPECT_GT(row["gflop_per_s"].get<double>(), 0.0);
  EXPECT_GT(row["gb_per_s"].get<double>(), 0.0);
  EXPECT_GT(row["peaks"]["f32_gflop_per_s"].get<double>(), 0.0);
}

// 4 x 8x8 images: the multiply-adds of each layer are known by hand.
TEST_F(TrainingBench, ProfileTellsPhasesAndLayers) {
  const TrainingMeasurement measured =
      measure_training(config_of(tiny_and({"--method", "qat"})), {.steps = 4, .per_layer = true});
  const nlohmann::json& row = measured.row;
  double sum = 0.0;
  for (const char* phase : {"forward", "backward_data", "backward_weights", "weight_preparation",
                            "elementwise", "loss", "optimizer"}) {
    EXPECT_GT(row["phase_ms"][phase].get<double>(), 0.0) << phase;
    sum += row["phase_ms"][phase].get<double>();
  }
  sum += row["phase_ms"]["data"].get<double>();
  EXPECT_NEAR(sum, row["profiled_step_ms"].get<double>(), 1e-9 * sum);
  EXPECT_FALSE(row["layers"].empty());

  std::size_t products = 0;
  for (const LayerProfile& layer : measured.profile.layers) {
    SCOPED_TRACE(layer.layer);
    if (layer.layer == "stem.conv") {  // 16 outputs of 3x3x3 taps at 64 pixels of 4 images
      EXPECT_DOUBLE_EQ(layer.forward.gflop, 2e-9 * 4 * 64 * 16 * 27);
      EXPECT_EQ(layer.forward.unit, DirectionWork::Unit::kInt8);
      EXPECT_DOUBLE_EQ(layer.forward.mb, 1e-6 * (4 * 64 * 3 + 16 * 27 + 4 * 4 * 64 * 16));
      EXPECT_EQ(layer.backward_data.gflop, 0.0) << "images need no gradient";
      EXPECT_DOUBLE_EQ(layer.backward_weights.gflop, layer.forward.gflop);
      EXPECT_EQ(layer.output, "4x16x8x8");
    }
    EXPECT_FALSE(layer.layer.ends_with("weight.q")) << "part of the layer that reads it";
    if (layer.forward.gflop > 0.0) {
      ++products;
      EXPECT_GT(layer.preparation_ms, 0.0);
      EXPECT_GT(layer.backward_weights.ms, 0.0);
    }
  }
  EXPECT_EQ(products, 10U) << "resnet8: 7 convolutions, 2 of shortcuts, 1 linear";
}

TEST_F(TrainingBench, ProfileCountsGradientsInBf16ByTheirBytes) {
  if (effective_isa() != Isa::kAvx512Amx) GTEST_SKIP() << "few gradients are bf16 without AMX";
  const auto mb = [&](const char* precision) {
    const std::vector<std::string> words = {"--method", "qat", "--precision", precision};
    return measure_training(config_of(tiny_and(words)), {.steps = 4, .per_layer = true})
        .profile.mb();
  };
  EXPECT_LT(mb("bf16"), 0.9 * mb("f32"));
}

TEST_F(TrainingBench, RooflineNamesWhatLimits) {
  const kernels::MachinePeaks peaks{.f32_gflop_per_s = 100.0,
                                    .int8_gop_per_s = 400.0,
                                    .bf16_gflop_per_s = 200.0,
                                    .copy_gb_per_s = 10.0};
  LayerProfile layer;
  layer.forward = {.unit = DirectionWork::Unit::kInt8, .gflop = 4.0, .mb = 1.0, .ms = 15.0};
  layer.backward_data = {.gflop = 1.0, .mb = 300.0, .ms = 40.0};
  layer.preparation_ms = 25.0;
  // Forward 10 ms of sums over 0.1 ms of memory; backward 10 ms over 30 ms: 40 ms of 80 at least.
  const Roofline roof = roofline(layer, peaks);
  EXPECT_DOUBLE_EQ(roof.share, 0.5);
  EXPECT_FALSE(roof.by_compute) << "30.1 ms of memory, 20 ms of sums";
  layer.backward_data.mb = 1.0;
  EXPECT_TRUE(roofline(layer, peaks).by_compute);
  EXPECT_DOUBLE_EQ(roofline(layer, peaks).share, 20.0 / 80.0);
  EXPECT_TRUE(std::isnan(roofline(LayerProfile(), peaks).share));
}

TEST_F(TrainingBench, FloatRowsHaveThirtyTwoBitsAndNoQuantizer) {
  const nlohmann::json row = measure_training(config_of(tiny()), {.steps = 1}).row;
  EXPECT_EQ(row["weight_bits"], 32);
  EXPECT_EQ(row["activation_bits"], 32);
  EXPECT_EQ(row["forward"], "float");
  EXPECT_TRUE(row["quantizer"].is_null());
}

// Memory is planned before the first step. oneDNN makes tables of arguments for each primitive.
TEST_F(TrainingBench, StepsAllocateNothingOfOurs) {
  const std::vector<std::vector<std::string>> kinds = {
      {},
      {"--method", "qat"},
      {"--method", "qat", "--forward", "float"},
      {"--method", "qat", "--network", "resnet20_react", "--quant.quantizer=reactnet",
       "--weight-bits", "1", "--activation-bits", "1"}};
  for (const std::vector<std::string>& kind : kinds) {
    SCOPED_TRACE(::testing::PrintToString(kind));
    const nlohmann::json row = measure_training(config_of(tiny_and(kind)), {.steps = 3}).row;
    EXPECT_EQ(row["allocations_per_step"], 0.0);
    EXPECT_GT(row["onednn_allocations_per_step"].get<double>(), 0.0)
        << "oneDNN's own tables are not seen as its own";
  }
}

TEST_F(TrainingBench, StepsTrain) {
  trainers::Config config = config_of(tiny());
  config.train.lr = 0.05;
  trainers::BenchmarkRun run(config);
  const double first = run.step();
  double last = first;
  for (int step = 1; step < 40; ++step) last = run.step();
  EXPECT_LT(last, 0.8 * first);
}

}  // namespace
}  // namespace bitloom::tools
