// bench --model, bench --network: latency, memory and bits of exported models, in turns.
// Comes from: run_commands.cpp. Goes to: bench_suite.cpp, which runs it in child processes.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "command.h"
#include "measure.h"

namespace bitloom::tools {

/// A file and what runs it.
struct BenchedModel {
  std::filesystem::path path;
  std::string method;   ///< for the row; "": the model's own word
  std::string backend;  ///< "onednn", "onednn-bf16", ...
};

struct ModelBenchOptions {
  std::int64_t batch = 1;
  TimingRule timing;
  bool fallback_to_reference = false;
  bool per_layer = false;  ///< with the row's "layers" and "peaks", session_profile.h
  bool parity = false;     ///< one image, the whole network, beside the reference executor
};

/// One row a model, in their order: model_row(), model, batch, runs, latency_ms_p50, _p90 and _p99,
/// peak_memory_bytes (highest use above start-up) and resident_memory_bytes (use once it runs,
/// above start-up) of a process that runs this one model, first_inference_ms (in that process, from
/// opening the file to the first logits), plan, noisy and what machine_state_json() has. With
/// parity and a model that multiplies integers parity_identical and parity_checked. A lone model is
/// measured in this process, several each in a child of their own.
/// `tell` gets tables: of the plans, and of the layers.
std::vector<nlohmann::json> bench_models(const std::vector<BenchedModel>& models,
                                         const ModelBenchOptions& options,
                                         const std::function<void(const std::string&)>& tell);

/// Options of `bench` that only exported models read, --model among them.
const std::vector<OptionSpec>& model_bench_options();

/// bench --model FILE[,FILE] or --network N [--method M[,M]]. @return kExitCheckFailed where bits
/// differ from the reference executor's.
int run_model_bench(const Arguments& arguments);

}  // namespace bitloom::tools
