// bench --layer: one layer at a time, for speed and correctness alike.
// Goes to: run_commands.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "layer_problem.h"

namespace bitloom::tools {

/// Options of bench that only --layer reads, --layer itself first.
const std::vector<OptionSpec>& layer_bench_options();

struct LayerBenchOptions {
  std::string backend = "onednn";
  std::int64_t runs = 200;
  bool fallback_to_reference = false;
};

/// Every problem with every kernel, planned by the backend, beside the reference executor on the
/// same random input; then timed in turns, after max(3, runs / 10) rounds to warm up. Timed is the
/// layer alone, from its source in memory to its output in memory.
///
/// One row each: problem, kernel, backend, batch, runs, gmac, latency_ms_p50 and _p90, gmac_per_s
/// (over p50), implementation, declined, weight_bits, activation_bits, parity_identical (share of
/// images whose output has the reference's bits; null for float, whose sums have no one right
/// order), largest_difference (of f32 outputs, else null), and what machine_row() has.
/// @throws BackendError with the backend's reasons if it cannot run a problem.
std::vector<nlohmann::json> measure_layers(const std::vector<LayerProblem>& problems,
                                           const std::vector<LayerKernel>& kernels,
                                           const LayerBenchOptions& options);

/// bench --layer; exit code 1 if an integer kernel's output differs from the reference's.
int run_layer_bench(const Arguments& arguments);

}  // namespace bitloom::tools
