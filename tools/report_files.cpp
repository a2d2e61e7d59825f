#include "report_files.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "bitloom/io/json_rows.h"
#include "code_table.h"
#include "model_file.h"
#include "report_columns.h"

namespace bitloom::tools {

namespace fs = std::filesystem;

std::string run_name(const nlohmann::json& row) {
  std::string name = row_title(row);
  std::replace(name.begin(), name.end(), ' ', '_');
  return name;
}

std::vector<nlohmann::json> read_epochs(const fs::path& folder,
                                        const std::vector<nlohmann::json>& rows) {
  std::vector<nlohmann::json> epochs;
  for (const nlohmann::json& row : rows) {
    const fs::path file = folder / run_name(row) / "epochs.jsonl";
    if (!fs::exists(file)) continue;
    std::map<std::int64_t, nlohmann::json> by_number;
    for (nlohmann::json& epoch : io::read_rows(file)) {
      if (!epoch.contains("epoch") || !epoch["epoch"].is_number_integer()) continue;
      epoch["run"] = run_name(row);
      const auto number = epoch["epoch"].get<std::int64_t>();
      by_number[number] = std::move(epoch);
    }
    for (auto& [number, epoch] : by_number) epochs.push_back(std::move(epoch));
  }
  return epochs;
}

nlohmann::json layers_row(const std::string& run, const std::string& title,
                          const trainers::StepsReport& report) {
  nlohmann::json steps = nlohmann::json::array();
  for (const quant::StepStatistics& step : report.steps) {
    steps.push_back({{"node", step.node},
                     {"is_weight", step.is_weight},
                     {"quantizer", step.quantizer},
                     {"bits", step.format.bits},
                     {"qmin", step.format.range.qmin},
                     {"qmax", step.format.range.qmax},
                     {"zero_point", step.zero_point},
                     {"scale_low", step.least_scale},
                     {"scale_high", step.largest_scale},
                     {"sqnr_db", number_or_null(step.sqnr_db)},
                     {"outside_percent", number_or_null(step.outside_percent)},
                     {"low", step.low},
                     {"high", step.high},
                     {"counts", step.counts}});
  }
  return {{"run", run},
          {"title", title},
          {"images", report.images},
          {"steps", std::move(steps)},
          {"codes", code_json(code_rows(report.codes))}};
}

std::vector<nlohmann::json> read_layers(const fs::path& folder) {
  const fs::path file = folder / "layers.jsonl";
  return fs::exists(file) ? io::read_rows(file) : std::vector<nlohmann::json>();
}

}  // namespace bitloom::tools
