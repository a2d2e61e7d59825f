// The runs of a comparison: what [compare] asks for, as configurations and folders.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "bitloom/trainers/config.h"

namespace bitloom::tools {

/// One row of the table to be.
struct PlannedRun {
  std::string name;         ///< folder below --out: "float", "qat_w4a4"
  std::string title;        ///< "qat w4a4"
  std::string method;       ///< word of compare.methods
  std::string start;        ///< name of the run whose checkpoint it starts from; "": none
  trainers::Config config;  ///< with method and bits set
};

/// Float first (the others start from it, whether [compare] lists it or not), then every other
/// method at every width, in the order of [compare]; float-continued once. Widths of activations
/// count only where the method gives them a grid: ptq-dynamic of w4a4 and w4a8 is one run,
/// "ptq-dynamic w4a8"; weight-only is "w4a32".
/// @throws ConfigError where method and config contradict each other.
std::vector<PlannedRun> plan_runs(const trainers::Config& config);

/// What a run's folder says about it, in run.json.
struct RunRecord {
  std::string config_hash;
  bool finished = false;
  double minutes = 0.0;
};

/// @throws FormatError if run.json is damaged. An absent one gives an empty record.
RunRecord load_record(const std::filesystem::path& folder);
void save_record(const std::filesystem::path& folder, const RunRecord& record);

}  // namespace bitloom::tools
