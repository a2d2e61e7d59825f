#include "model_file.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "bitloom/backends/load_model.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/integer/model_archive.h"
#include "embedded.h"
#include "inspect.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

bool has_weights(const integer::Layer& layer) {
  return layer.op == integer::LayerOp::kConv2d || layer.op == integer::LayerOp::kLinear;
}

/// What chose the scales: null for float.
nlohmann::json quantizer_word(const std::string& method, const trainers::Config& config) {
  if (method == "float") return nullptr;
  return method == "qat" ? config.quant.quantizer : config.quant.observer;
}

/// Mean width of the numbers of one image, each weight once.
double average_weight_bits(const integer::Model& model) {
  double sum = 0.0;
  double count = 0.0;
  for (const integer::Layer& layer : model.layers) {
    if (!has_weights(layer)) continue;
    const auto elements = static_cast<double>(layer.weight.elements());
    sum += elements * layer.weight_bits;
    count += elements;
  }
  return count > 0.0 ? sum / count : kFloatBits;
}

/// The same of the tensors that layers with weights read and write, the logits aside; what a
/// dynamic layer reads has the width that it becomes.
double average_activation_bits(const integer::Model& model) {
  std::map<int, int> bits_of_tensor;
  const int logits = static_cast<int>(model.tensors.size()) - 1;
  for (const integer::Layer& layer : model.layers) {
    const bool dynamic = layer.mode == integer::ComputeMode::kDynamic;
    std::vector<int> touched = layer.inputs;
    touched.push_back(layer.output);
    for (const int index : touched) {
      const integer::TensorInfo& tensor = model.tensors.at(static_cast<std::size_t>(index));
      if (index == logits) continue;
      int& bits = bits_of_tensor.try_emplace(index, kFloatBits).first->second;
      if (tensor.dtype != DType::kF32) bits = tensor.format.bits;
      if (dynamic && index == layer.inputs.front()) bits = layer.source_format.bits;
    }
  }
  double sum = 0.0;
  double count = 0.0;
  for (const auto& [index, bits] : bits_of_tensor) {
    const auto elements =
        static_cast<double>(model.tensors.at(static_cast<std::size_t>(index)).shape.elements());
    sum += elements * bits;
    count += elements;
  }
  return count > 0.0 ? sum / count : kFloatBits;
}

nlohmann::json coarsest_levels(const integer::Model& model) {
  int levels = 0;
  for (const integer::Layer& layer : model.layers) {
    if (!has_weights(layer) || layer.mode == integer::ComputeMode::kFloat) continue;
    const bool binary = layer.weight_grid == integer::Grid::kBinary;  // no code 0
    const int here = binary ? 2 : layer.weight_range.levels();
    levels = levels == 0 ? here : std::min(levels, here);
  }
  return levels == 0 ? nlohmann::json(nullptr) : nlohmann::json(levels);
}

}  // namespace

ModelFile load_model_file(const std::filesystem::path& path) {
  ModelFile file;
  file.path = path;
  file.model = backends::load_model(path);
  file.config = trainers::config_from_ini(file.model.config_text, path.string() + " (config)");
  file.size_bytes = static_cast<std::int64_t>(std::filesystem::file_size(path));
  for (const std::int64_t bytes :
       layer_bytes(integer::to_archive(file.model), file.model.layers.size())) {
    file.parameter_bytes += bytes;
  }
  return file;
}

void require_profile(const ModelFile& file, const std::string& profile) {
  if (profile.empty() || profile == file.model.profile) return;
  throw ConfigError(
      {"--profile",
       cat("'", file.model.profile, "', which ", file.path.string(), " was exported for"),
       cat("'", profile, "'"), "export the checkpoint again with --profile"});
}

bool multiplies_integers(const integer::Model& model) {
  return std::all_of(model.layers.begin(), model.layers.end(), [](const integer::Layer& layer) {
    return !has_weights(layer) || layer.mode == integer::ComputeMode::kStatic ||
           layer.mode == integer::ComputeMode::kDynamic ||
           layer.mode == integer::ComputeMode::kFixedPoint;
  });
}

nlohmann::json machine_row() {
  return {{"isa", to_word(effective_isa())},
          {"threads", threads()},
          {"device", cpu_name()},
          {"commit", build_commit()}};
}

nlohmann::json model_row(const ModelFile& file, const std::string& backend) {
  const trainers::Config& config = file.config;
  const std::string& method = file.model.method;
  const bool quantized = method != "float";
  nlohmann::json row = machine_row();
  row["network"] = file.model.network;
  row["method"] = method;
  row["quantizer"] = quantizer_word(method, config);
  row["weight_bits"] = quantized ? config.quant.weight_bits : kFloatBits;
  row["activation_bits"] = quant::computed_activation_bits(config.quant);
  row["average_weight_bits"] = average_weight_bits(file.model);
  row["average_activation_bits"] = average_activation_bits(file.model);
  row["first_last_bits"] = quantized ? config.quant.first_last_bits : kFloatBits;
  row["levels"] = coarsest_levels(file.model);
  row["profile"] =
      file.model.profile.empty() ? nlohmann::json(nullptr) : nlohmann::json(file.model.profile);
  row["backend"] = backend;
  row["forward"] = method == "qat" ? config.quant.forward : "float";
  row["size_bytes"] = file.size_bytes;
  row["parameter_bytes"] = file.parameter_bytes;
  row["epochs"] = method.starts_with("ptq-") ? 0 : config.train.epochs;
  row["seed"] = config.seed;
  row["config_hash"] = trainers::config_hash(config);
  for (const char* measured :
       {"batch", "top1", "validation_top1", "latency_ms_p50", "latency_ms_p90", "peak_memory_bytes",
        "sqnr_db", "parity_identical", "largest_difference"}) {
    row[measured] = nullptr;
  }
  return row;
}

std::string plan_table(const std::vector<backends::PlanRow>& plan) {
  TextTable table{{"layer", "op", "mode", "W", "A", "implementation", "isa", "declined"}, {}};
  for (const backends::PlanRow& row : plan) {
    const bool weighted = row.op == "conv2d" || row.op == "linear";
    table.rows.push_back({row.layer, row.op, row.mode, weighted ? cat(row.weight_bits) : "-",
                          cat(row.activation_bits), row.implementation, row.isa,
                          row.declined.empty() ? "-" : row.declined});
  }
  return format_table(table);
}

nlohmann::json plan_json(const std::vector<backends::PlanRow>& plan) {
  nlohmann::json rows = nlohmann::json::array();
  for (const backends::PlanRow& row : plan) {
    rows.push_back({{"layer", row.layer},
                    {"op", row.op},
                    {"mode", row.mode},
                    {"weight_bits", row.weight_bits},
                    {"activation_bits", row.activation_bits},
                    {"implementation", row.implementation},
                    {"isa", row.isa},
                    {"declined", row.declined}});
  }
  return rows;
}

nlohmann::json number_or_null(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

}  // namespace bitloom::tools
