#include "code_table.h"

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

double zeros_of(const quant::CodeStatistics& of) {
  return of.zero_share * static_cast<double>(of.weights);
}

std::vector<std::string> cells(const std::string& name, const quant::CodeStatistics& of) {
  return {name,
          cat(of.weights),
          cat(of.filters),
          cat(of.unique_filters),
          fixed(100.0 * of.unique_share(), 2),
          fixed(100.0 * of.zero_share, 2)};
}

}  // namespace

CodeRows code_rows(const integer::Model& model) {
  CodeRows rows;
  for (const integer::Layer& layer : model.layers) {
    if (layer.weight.empty() || layer.weight_grid == integer::Grid::kAffine) continue;
    rows.emplace_back(layer.name, quant::code_statistics(layer.weight));
  }
  return rows;
}

CodeRows code_rows(const quant::LevelCodes& codes) {
  CodeRows rows;
  for (const auto& [name, tensor] : codes) rows.emplace_back(name, quant::code_statistics(tensor));
  return rows;
}

std::string code_table(const CodeRows& rows) {
  if (rows.empty()) return "";
  TextTable table{{"codes of", "weights", "filters", "unique", "unique %", "zeros %"}, {}};
  quant::CodeStatistics all;
  double zeros = 0.0;
  for (const auto& [name, of] : rows) {
    table.rows.push_back(cells(name, of));
    all.weights += of.weights;
    all.filters += of.filters;
    all.unique_filters += of.unique_filters;  // of each layer: layers do not share results
    zeros += zeros_of(of);
  }
  if (all.weights > 0) all.zero_share = zeros / static_cast<double>(all.weights);
  table.rows.push_back(cells("all", all));
  return format_table(table);
}

nlohmann::json code_json(const CodeRows& rows) {
  nlohmann::json json = nlohmann::json::array();
  for (const auto& [name, of] : rows) {
    json.push_back({{"name", name},
                    {"weights", of.weights},
                    {"filters", of.filters},
                    {"unique_filters", of.unique_filters},
                    {"zero_percent", 100.0 * of.zero_share}});
  }
  return json;
}

}  // namespace bitloom::tools
