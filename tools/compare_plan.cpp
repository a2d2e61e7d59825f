#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config_keys.h"
#include "compare.h"

namespace bitloom::tools {

std::vector<PlannedRun> plan_runs(const trainers::Config& config) {
  std::vector<PlannedRun> runs;
  runs.push_back({"float", "float", trainers::with_overrides(config, {"quant.method=float"})});
  for (const std::string& method : config.compare.methods) {
    if (method == "float") continue;
    for (const std::string& bits : config.compare.bits) {
      runs.push_back({cat(method, "_", bits), cat(method, " ", bits),
                      trainers::with_overrides(
                          config, {"quant.method=" + method, cat("quant.weight_bits=", bits.at(1)),
                                   cat("quant.activation_bits=", bits.at(3))})});
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
