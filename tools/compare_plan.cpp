#include <algorithm>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config_keys.h"
#include "compare.h"

namespace bitloom::tools {

namespace {

/// Where activations have no grid of their own, what [quant] says of one is left out: then runs
/// that compute the same are one run.
PlannedRun planned_run(const trainers::Config& config, const std::string& method,
                       const std::string& bits) {
  std::vector<std::string> overrides = {"quant.method=" + method,
                                        cat("quant.weight_bits=", bits.at(1))};
  if (quant::has_activation_grids(method)) {
    overrides.push_back(cat("quant.activation_bits=", bits.at(3)));
  } else {
    overrides.insert(overrides.end(), {"quant.activation_bits=8", "quant.asymmetric=false"});
  }
  PlannedRun run{.config = trainers::with_overrides(config, overrides)};
  const std::string label = cat("w", run.config.quant.weight_bits, "a",
                                quant::computed_activation_bits(run.config.quant));
  run.name = cat(method, "_", label);
  run.title = cat(method, " ", label);
  return run;
}

}  // namespace

std::vector<PlannedRun> plan_runs(const trainers::Config& config) {
  std::vector<PlannedRun> runs;
  runs.push_back({"float", "float", trainers::with_overrides(config, {"quant.method=float"})});
  for (const std::string& method : config.compare.methods) {
    if (method == "float") continue;
    for (const std::string& bits : config.compare.bits) {
      PlannedRun run = planned_run(config, method, bits);
      const auto same = [&run](const PlannedRun& other) { return other.name == run.name; };
      if (std::none_of(runs.begin(), runs.end(), same)) runs.push_back(std::move(run));
    }
  }
  return runs;
}

RunRecord load_record(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "run.json";
  if (!std::filesystem::exists(path)) return {};
  const nlohmann::json json = nlohmann::json::parse(io::read_whole_file(path), nullptr, false);
  RunRecord record;
  try {
    record.config_hash = json.at("config_hash").get<std::string>();
    record.finished = json.at("finished").get<bool>();
    record.minutes = json.at("minutes").get<double>();
  } catch (const nlohmann::json::exception& error) {
    throw FormatError({path.string(), "config_hash, finished, minutes", error.what(),
                       "remove this run's folder"});
  }
  return record;
}

void save_record(const std::filesystem::path& folder, const RunRecord& record) {
  const nlohmann::json json = {{"config_hash", record.config_hash},
                               {"finished", record.finished},
                               {"minutes", record.minutes}};
  io::write_whole_file(folder / "run.json", json.dump() + "\n");
}

}  // namespace bitloom::tools
