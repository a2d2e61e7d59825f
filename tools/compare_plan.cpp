#include <algorithm>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/compare_methods.h"
#include "bitloom/trainers/config_keys.h"
#include "compare.h"

namespace bitloom::tools {

namespace {

/// Where activations have no grid of their own, the width that [compare] gives them is left out:
/// then runs that compute the same are one run.
PlannedRun planned_run(const trainers::Config& config, const trainers::CompareMethod& method,
                       const std::string& bits) {
  std::vector<std::string> overrides = method.overrides;
  const auto sets = [&overrides](std::string_view key) {
    return std::any_of(overrides.begin(), overrides.end(),
                       [key](const std::string& text) { return text.starts_with(key); });
  };
  // Methods of one and two bits have widths of their own.
  const bool own_widths = sets("quant.weight_bits=");
  if (!own_widths) overrides.push_back(cat("quant.weight_bits=", bits.at(1)));
  const std::string word = trainers::with_overrides(config, overrides).quant.method;
  if (!own_widths && quant::has_activation_grids(word)) {
    overrides.push_back(cat("quant.activation_bits=", bits.at(3)));
  }
  PlannedRun run{.method = method.word,
                 .start = "float",
                 .config = trainers::with_overrides(config, overrides)};
  const std::string label = cat("w", run.config.quant.weight_bits, "a",
                                quant::computed_activation_bits(run.config.quant));
  run.name = cat(method.word, "_", label);
  run.title = cat(method.word, " ", label);
  return run;
}

PlannedRun continued_run(const trainers::Config& config, const trainers::CompareMethod& method) {
  std::vector<std::string> overrides = method.overrides;
  overrides.push_back(cat("train.epochs=", config.train.qat_epochs));
  overrides.push_back(cat("train.lr=", config.train.qat_lr));
  return {.name = method.word,
          .title = method.word,
          .method = method.word,
          .start = "float",
          .config = trainers::with_overrides(config, overrides)};
}

}  // namespace

std::vector<PlannedRun> plan_runs(const trainers::Config& config) {
  std::vector<PlannedRun> runs;
  runs.push_back({.name = "float",
                  .title = "float",
                  .method = "float",
                  .start = "",
                  .config = trainers::with_overrides(config, {"quant.method=float"})});
  for (const std::string& word : config.compare.methods) {
    const trainers::CompareMethod& method = trainers::compare_method(word);
    if (word == "float") continue;
    if (word == trainers::kFloatContinued) {
      runs.push_back(continued_run(config, method));
      continue;
    }
    std::string start = "float";
    for (const std::string& bits : config.compare.bits) {
      PlannedRun run = planned_run(config, method, bits);
      run.start = start;
      if (word == trainers::kQatProgressive) start = run.name;
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
