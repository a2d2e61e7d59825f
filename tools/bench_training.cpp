#include "bench_training.h"

#include <algorithm>
#include <chrono>
#include <vector>

#include "allocation_count.h"
#include "bitloom/core/error.h"
#include "bitloom/trainers/benchmark_run.h"
#include "global_options.h"
#include "measure.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

constexpr std::int64_t kMostSteps = 1'000'000;
constexpr std::int64_t kMostClockedSteps = 10;
constexpr TrainingBenchOptions kDefaults;
constexpr const char* kLearningRate = "train.lr=0.01";

/// An option and the config key that it stands for.
struct KeyOption {
  OptionSpec option;
  const char* key = "";
  bool quantization = false;  ///< means nothing to a float network
};

const std::vector<KeyOption>& key_options() {
  static const std::vector<KeyOption> options = {
      {{"network", "N", "a built-in network instead of --model; of --training, default lenet5"},
       "model.network"},
      {{"method", "M[,M]",
        "of --network: float, bf16, ptq-static, ...; of --training: float or qat"},
       "quant.method"},
      {{"weight-bits", "B", "qat: 1 .. 8; default 8"}, "quant.weight_bits", true},
      {{"activation-bits", "B", "qat: 1 .. 8, 32: real; default 8"}, "quant.activation_bits", true},
      {{"forward", "F", "qat: integer kernels (default) or float"}, "quant.forward", true},
      {{"precision", "P", "f32 (default) or bf16: train.precision"}, "train.precision"},
      {{"classes", "N", "default 10"}, "data.classes"}};
  return options;
}

std::int64_t image_side(const Arguments& arguments, bool gray) {
  return arguments.integer("image-size", 1, 1024, gray ? 28 : 32);
}

void require_quantized(const Arguments& arguments) {
  if (arguments.value("method", "float") != "float") return;
  std::string found;
  const auto add = [&](const std::string& name) {
    found += (found.empty() ? "--" : ", --") + name;
  };
  for (const KeyOption& entry : key_options()) {
    if (entry.quantization && arguments.has(entry.option.name)) add(entry.option.name);
  }
  for (const std::string& key : arguments.overrides) {
    if (key.starts_with("quant.")) add(key);
  }
  if (found.empty()) return;
  throw ConfigError(
      {found, "--method qat beside it", "a float network", "leave it out, or add --method qat"});
}

nlohmann::json training_row(const trainers::Config& config, std::int64_t steps) {
  const bool quantized = config.quant.method == "qat";
  nlohmann::json row = machine_row();
  row["network"] = config.model.network;
  row["method"] = config.quant.method;
  row["quantizer"] = quantized ? nlohmann::json(config.quant.quantizer) : nlohmann::json(nullptr);
  row["weight_bits"] = quantized ? config.quant.weight_bits : kFloatBits;
  row["activation_bits"] = quantized ? config.quant.activation_bits : kFloatBits;
  row["forward"] = quantized ? config.quant.forward : "float";
  row["precision"] = config.train.precision;  // of the backward pass and of what is not quantized
  row["batch"] = config.train.batch;
  row["image_size"] = config.data.synthetic_height;
  row["classes"] = config.data.classes;
  row["steps"] = steps;
  row["seed"] = config.seed;
  row["config_hash"] = trainers::config_hash(config);
  return row;
}

std::string summary(const nlohmann::json& row) {
  TextTable table{{"network", "method", "W", "A", "forward", "p50 ms", "p90 ms", "images/s",
                   "peak memory", "allocations"},
                  {}};
  table.rows.push_back({row["network"], row["method"], cat(row["weight_bits"].get<int>()),
                        cat(row["activation_bits"].get<int>()), row["forward"],
                        fixed(row["step_ms_p50"].get<double>(), 3),
                        fixed(row["step_ms_p90"].get<double>(), 3),
                        fixed(row["images_per_second"].get<double>(), 1),
                        bytes_text(row["peak_memory_bytes"].get<std::int64_t>()),
                        fixed(row["allocations_per_step"].get<double>(), 1)});
  return format_table(table);
}

/// More steps, each under a clock.
StepProfile clocked_steps(trainers::BenchmarkRun& run, std::int64_t steps, bool bf16) {
  const LapClock clock(run.network().graph().nodes().size());
  std::vector<LapClock> clocks(static_cast<std::size_t>(std::min(steps, kMostClockedSteps)), clock);
  for (LapClock& step : clocks) run.step(&step);
  return profile_of(run.network(), clocks, bf16);
}

void add_profile(TrainingMeasurement& measured, bool per_layer) {
  nlohmann::json& row = measured.row;
  const StepProfile& profile = measured.profile;
  const double seconds = 1e-3 * row["step_ms_p50"].get<double>();
  row["phase_ms"] = phase_json(profile);
  row["profiled_step_ms"] = profile.step_ms;
  row["gflop_per_step"] = profile.gflop();
  row["mb_per_step"] = profile.mb();
  row["gflop_per_s"] = profile.gflop() / seconds;
  row["gb_per_s"] = 1e-3 * profile.mb() / seconds;
  row["peaks"] = peaks_json(measured.peaks);
  if (per_layer) row["layers"] = layers_json(profile, measured.peaks);
}

std::string peak_lines(const nlohmann::json& row) {
  const nlohmann::json& peaks = row["peaks"];
  const auto number = [](const nlohmann::json& value) {
    return value.is_null() ? std::string("none") : fixed(value.get<double>(), 1);
  };
  return cat("products ", number(row["gflop_per_step"]), " GFLOP, ", number(row["gflop_per_s"]),
             " GFLOP/s; tensors ", number(row["mb_per_step"]), " MB, ", number(row["gb_per_s"]),
             " GB/s\nthis machine's peaks on as many threads: f32 ",
             number(peaks["f32_gflop_per_s"]), " GFLOP/s, bf16 ", number(peaks["bf16_gflop_per_s"]),
             ", int8 ", number(peaks["int8_gop_per_s"]), " GOP/s; copy ",
             number(peaks["copy_gb_per_s"]), " GB/s\n");
}

}  // namespace

const std::vector<OptionSpec>& training_bench_options() {
  static const std::vector<OptionSpec> options = [] {
    std::vector<OptionSpec> all;
    for (const KeyOption& entry : key_options()) all.push_back(entry.option);
    all.push_back({"image-size", "N", "rows and columns of an image; default 28 or 32"});
    all.push_back({"steps", "N", cat("timed training steps; default ", kDefaults.steps)});
    return all;
  }();
  return options;
}

std::vector<std::string> training_bench_keys() {
  return {"",
          "quant.quantizer",
          "quant.first_last_bits",
          "quant.narrow_weights",
          "quant.asymmetric",
          "quant.per_channel",
          "quant.power_of_two",
          "quant.fold_batch_norm",
          "train.optimizer",
          "train.lr",
          "train.momentum",
          "train.nesterov",
          "train.weight_decay",
          "train.clip_norm",
          "train.label_smoothing",
          "train.ema_decay",
          "train.precision"};
}

trainers::Config training_bench_config(const Arguments& arguments) {
  require_quantized(arguments);
  std::vector<std::string> overrides = {kLearningRate};
  for (const KeyOption& entry : key_options()) {
    const std::string& name = entry.option.name;
    if (arguments.has(name)) overrides.push_back(cat(entry.key, "=", arguments.value(name)));
  }
  if (arguments.has("batch")) overrides.push_back("train.batch=" + arguments.value("batch"));
  const bool gray = arguments.value("network", "lenet5").starts_with("lenet");
  const std::int64_t side = image_side(arguments, gray);
  overrides.push_back("data.reader=synthetic");
  overrides.push_back(cat("data.synthetic_height=", side));
  overrides.push_back(cat("data.synthetic_width=", side));
  overrides.push_back(cat("data.synthetic_channels=", gray ? 1 : 3));
  overrides.insert(overrides.end(), arguments.overrides.begin(), arguments.overrides.end());
  return trainers::load_config("", overrides);
}

TrainingMeasurement measure_training(const trainers::Config& config,
                                     const TrainingBenchOptions& options) {
  using Clock = std::chrono::steady_clock;
  trainers::BenchmarkRun run(config);
  const std::int64_t steps = options.steps;
  std::vector<double> step_ms(static_cast<std::size_t>(steps));
  const std::int64_t warm_up = std::max<std::int64_t>(3, steps / 10);
  for (std::int64_t step = 0; step < warm_up; ++step) run.step();
  const AllocationCount before = allocation_count();
  for (double& sample : step_ms) {
    const Clock::time_point begin = Clock::now();
    run.step();
    sample = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();
  }
  const AllocationCount after = allocation_count();
  const std::int64_t peak = process_memory().peak_bytes - startup_memory();

  const auto per_step = [&](std::int64_t count) {
    return static_cast<double>(count) / static_cast<double>(steps);
  };
  nlohmann::json row = training_row(run.config(), steps);
  const double p50_ms = quantile(step_ms, 0.5);
  row["step_ms_p10"] = quantile(step_ms, 0.1);
  row["step_ms_p50"] = p50_ms;
  row["step_ms_p90"] = quantile(step_ms, 0.9);
  row["images_per_second"] = 1e3 * static_cast<double>(config.train.batch) / p50_ms;
  row["peak_memory_bytes"] = peak;
  row["allocations_per_step"] = per_step(after.ours - before.ours);
  row["onednn_allocations_per_step"] = per_step(after.onednn - before.onednn);
  row["parameters"] = run.parameters();
  const bool bf16 = row["precision"] == "bf16";
  TrainingMeasurement measured{.row = std::move(row),
                               .profile = clocked_steps(run, steps, bf16),
                               .peaks = kernels::measure_peaks()};
  add_profile(measured, options.per_layer);
  return measured;
}

int run_training_bench(const Arguments& arguments) {
  for (const char* name : {"model", "layer", "kernel", "backend", "runs", "fallback"}) {
    if (!arguments.has(name)) continue;
    throw ConfigError({cat("--", name), "nothing beside --training", arguments.value(name),
                       "it belongs to the bench of exported models and layers"});
  }
  const trainers::Config config = training_bench_config(arguments);
  const std::int64_t steps = arguments.integer("steps", 1, kMostSteps, kDefaults.steps);
  prepare_machine(config);
  const TrainingMeasurement measured =
      measure_training(config, {.steps = steps, .per_layer = arguments.has("per-layer")});
  const nlohmann::json& row = measured.row;
  say(arguments, summary(row));
  say(arguments,
      cat(steps, " steps of ", config.train.batch, " images, ", row["isa"].get<std::string>(), ", ",
          row["threads"].get<int>(), row["threads"] == 1 ? " thread; " : " threads; ",
          "oneDNN's library itself allocates ",
          fixed(row["onednn_allocations_per_step"].get<double>(), 1), " times a step\n\n"));
  say(arguments, phase_table(measured.profile));
  say(arguments, peak_lines(row));
  if (arguments.has("per-layer")) {
    say(arguments, "\n" + layer_table(measured.profile, measured.peaks));
  }
  write_json_option(arguments, {row});
  return kExitDone;
}

}  // namespace bitloom::tools
