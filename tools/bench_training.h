// bench --training: time, memory and allocations of one training step.
// Goes to: run_commands.cpp.
#pragma once

#include <nlohmann/json.hpp>

#include "bitloom/trainers/config.h"
#include "command.h"
#include "step_profile.h"

namespace bitloom::tools {

/// Options of bench that only --training reads.
const std::vector<OptionSpec>& training_bench_options();

/// Config keys that change a training step, and the unsectioned ones ("").
std::vector<std::string> training_bench_keys();

/// The config that the options of `bench --training` ask for. Images are 1x28x28 for networks named
/// lenet..., else 3x32x32, unless --image-size gives the side. train.lr is 0.01 unless it is given:
/// images that repeat must not end in a loss that overflows.
/// @throws ConfigError for values out of range, and for what only QAT reads with method float.
trainers::Config training_bench_config(const Arguments& arguments);

/// How a training step is measured.
struct TrainingBenchOptions {
  std::int64_t steps = 30;  ///< timed steps
  bool per_layer = false;   ///< with the row's "layers", step_profile.h
};

/// A row, and what was found beside it.
struct TrainingMeasurement {
  nlohmann::json row;
  StepProfile profile;
  kernels::MachinePeaks peaks;
};

/// Runs max(3, steps / 10) steps to warm up, then `steps` that are timed, then min(steps, 10) under
/// a clock, at last the machine's peaks: neither costs the timed steps anything. The row: network,
/// method, quantizer, weight_bits, activation_bits, forward, precision, batch, steps, step_ms_p10,
/// _p50 and _p90, images_per_second (batch / p50), peak_memory_bytes (highest resident memory of
/// the process above what it used when it started), allocations_per_step and
/// onednn_allocations_per_step (allocation_count.h; mean over the timed steps), image_size,
/// classes, parameters (trained values without the quantizers'), phase_ms (they sum up to
/// profiled_step_ms, near step_ms_p50), gflop_per_step, mb_per_step, gflop_per_s and gb_per_s (over
/// p50), peaks, with per_layer "layers", and what machine_row() has.
TrainingMeasurement measure_training(const trainers::Config& config,
                                     const TrainingBenchOptions& options);

/// bench --training.
int run_training_bench(const Arguments& arguments);

}  // namespace bitloom::tools
