#include "code_table.h"

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

double zeros_of(const quant::CodeStatistics& of) {
  return of.zero_share * static_cast<double>(of.weights);
}

double bits_on_disk(const integer::Layer& layer) {
  const std::int64_t outputs = layer.weight.shape().n();
  const std::int64_t row_bits = layer.weight.elements() / outputs * layer.weight_bits;
  const std::int64_t row_bytes = (row_bits + 7) / 8;
  return static_cast<double>(outputs * row_bytes * 8) /
         static_cast<double>(layer.weight.elements());
}

std::vector<std::string> cells(const CodeRow& row) {
  const quant::CodeStatistics& of = row.statistics;
  return {row.name,
          cat(of.weights),
          row.bits_per_weight ? fixed(*row.bits_per_weight, 3) : "-",
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
    rows.push_back({layer.name, quant::code_statistics(layer.weight), bits_on_disk(layer)});
  }
  return rows;
}

CodeRows code_rows(const quant::LevelCodes& codes) {
  CodeRows rows;
  for (const auto& [name, tensor] : codes) {
    rows.push_back({name, quant::code_statistics(tensor), std::nullopt});
  }
  return rows;
}

std::string code_table(const CodeRows& rows) {
  if (rows.empty()) return "";
  TextTable table{{"codes of", "weights", "bits each", "filters", "unique", "unique %", "zeros %"},
                  {}};
  CodeRow last{"all", {}, std::nullopt};
  quant::CodeStatistics& all = last.statistics;
  double zeros = 0.0;
  double bits = 0.0;
  for (const CodeRow& row : rows) {
    const quant::CodeStatistics& of = row.statistics;
    table.rows.push_back(cells(row));
    bits += row.bits_per_weight.value_or(0.0) * static_cast<double>(of.weights);
    all.weights += of.weights;
    all.filters += of.filters;
    all.unique_filters += of.unique_filters;  // of each layer: layers do not share results
    zeros += zeros_of(of);
  }
  if (all.weights > 0) all.zero_share = zeros / static_cast<double>(all.weights);
  if (all.weights > 0 && rows.front().bits_per_weight) {
    last.bits_per_weight = bits / static_cast<double>(all.weights);
  }
  table.rows.push_back(cells(last));
  return format_table(table);
}

nlohmann::json code_json(const CodeRows& rows) {
  nlohmann::json json = nlohmann::json::array();
  for (const auto& [name, of, bits] : rows) {
    json.push_back({{"name", name},
                    {"weights", of.weights},
                    {"bits_per_weight", bits ? nlohmann::json(*bits) : nlohmann::json()},
                    {"filters", of.filters},
                    {"unique_filters", of.unique_filters},
                    {"zero_percent", 100.0 * of.zero_share}});
  }
  return json;
}

}  // namespace bitloom::tools
