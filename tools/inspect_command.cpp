// inspect: what a checkpoint, an exported model or a graph text holds.
#include <charconv>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "bitloom/core/error.h"
#include "bitloom/integer/fixed_point.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/layers/graph.h"
#include "bitloom/models/networks.h"
#include "bitloom/quant/step_size.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "code_table.h"
#include "command.h"
#include "global_options.h"
#include "inspect.h"
#include "model_file.h"
#include "number_text.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;

/// "Q3.5", bits before and behind the binary point, of codes of `bits` bits, one of them a sign;
/// "" unless the scale is a power of two.
std::string point_name(float scale, int bits) {
  const std::optional<int> fractional = integer::fractional_bits(scale);
  return fractional ? quant::FixedPointFormat{bits, *fractional}.name() : "";
}

/// The same of a tensor; codes without sign have room for one more bit.
std::string point_name(const integer::TensorInfo& info) {
  const integer::AffineFormat& format = info.format;
  if (info.dtype == DType::kF32 || format.grid != integer::Grid::kAffine) return "";
  return point_name(info.scale, format.bits + (format.is_signed ? 0 : 1));
}

/// That of the weights of a fixed-point layer.
std::string weight_point(const integer::Layer& layer) {
  if (layer.mode != integer::ComputeMode::kFixedPoint || layer.weight.empty()) return "";
  return point_name(layer.weight_scale.data<float>()[0], layer.weight_bits);
}

std::string in_brackets(const std::string& text) { return text.empty() ? "" : " (" + text + ")"; }

/// "relu1.q u8 x 0.294556, 0 .. 4.41834": what the codes reach.
std::string output_text(const integer::TensorInfo& info) {
  if (info.dtype == DType::kF32) return info.name + " f32";
  const integer::AffineFormat& format = info.format;
  const auto real = [&](std::int32_t code) {
    return integer::dequantize(code, info.scale, format.zero_point);
  };
  return cat(info.name, " ", to_word(info.dtype), " x ", info.scale, in_brackets(point_name(info)),
             ", ", real(format.range.qmin), " .. ", real(format.range.qmax));
}

/// "static", "dynamic u8": a dynamic layer's source is real outside of it.
std::string mode_text(const integer::Layer& layer) {
  const std::string mode(to_word(layer.mode));
  if (layer.mode != integer::ComputeMode::kDynamic) return mode;
  return cat(mode, layer.source_format.is_signed ? " s8" : " u8");
}

void print_model(const Arguments& arguments, const ModelFile& file, const Archive& archive) {
  const integer::Model& model = file.model;
  say(arguments,
      cat(file.path.string(), ": exported model, ", model.network, ", ", model.method, " ",
          model.weights_label, ", profile ", model.profile.empty() ? "-" : model.profile, ", ",
          bytes_text(file.size_bytes), ", config ", trainers::config_hash(file.config), "\n"));
  TextTable table{{"layer", "op", "mode", "W", "codes", "at ends %", "weight", "size",
                   "weight scales", "multipliers", "output"},
                  {}};
  nlohmann::json layers = nlohmann::json::array();
  const std::vector<std::int64_t> bytes = layer_bytes(archive, model.layers.size());
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const integer::Layer& layer = model.layers[i];
    const bool coded = layer.mode != integer::ComputeMode::kFloat && !layer.weight.empty();
    const std::string codes =
        coded ? cat(layer.weight_range.qmin, " .. ", layer.weight_range.qmax) : "-";
    const integer::TensorInfo& output = model.tensors[static_cast<std::size_t>(layer.output)];
    const std::string bits = layer.weight.empty() ? "-" : cat(layer.weight_bits);
    table.rows.push_back({layer.name, std::string(to_word(layer.op)), mode_text(layer), bits, codes,
                          fixed(ends_percent(layer), 2),
                          layer.weight.empty() ? "-" : to_string(layer.weight.shape()),
                          bytes_text(bytes[i]),
                          range_text(layer.weight_scale) + in_brackets(weight_point(layer)),
                          range_text(layer.multiplier), output_text(output)});
    layers.push_back({{"name", layer.name},
                      {"op", to_word(layer.op)},
                      {"mode", to_word(layer.mode)},
                      {"weight_bits", layer.weight.empty() ? nlohmann::json(nullptr)
                                                           : nlohmann::json(layer.weight_bits)},
                      {"elements", layer.weight.elements()},
                      {"size_bytes", bytes[i]},
                      {"ends_percent", number_or_null(ends_percent(layer))}});
    if (layer.mode == integer::ComputeMode::kFixedPoint) {
      layers.back()["weight_format"] = weight_point(layer);
      layers.back()["output_format"] = point_name(output);
    }
  }
  say(arguments, format_table(table));
  const CodeRows codes = code_rows(model);
  if (!codes.empty()) say(arguments, "\n" + code_table(codes));
  nlohmann::json row = model_row(file, "");
  row["layers"] = std::move(layers);
  if (!codes.empty()) row["codes"] = code_json(codes);
  write_json_option(arguments, {row});
}

/// The grids of a quantized checkpoint, as a table; the same as JSON. A float one has none.
nlohmann::json print_quantizers(const Arguments& arguments, const Archive& archive,
                                const std::string& graph_text) {
  TextTable table{{"quantizer", "kind", "codes", "scale", "reaches", "weights outside %"}, {}};
  nlohmann::json rows = nlohmann::json::array();
  for (const QuantizerRow& row : quantizer_rows(archive, graph_text)) {
    table.rows.push_back(
        {row.node, row.quantizer, row.codes, row.scale, row.reals, fixed(row.outside_percent, 3)});
    rows.push_back({{"node", row.node},
                    {"quantizer", row.quantizer},
                    {"codes", row.codes},
                    {"scale", row.scale},
                    {"reals", row.reals},
                    {"outside_percent", number_or_null(row.outside_percent)}});
  }
  if (!rows.empty()) say(arguments, "\n" + format_table(table));
  return rows;
}

void print_checkpoint(const Arguments& arguments, const fs::path& path, const Archive& archive) {
  const trainers::CheckpointSummary summary = trainers::summarize_checkpoint(path);
  say(arguments,
      cat(path.string(), ": checkpoint, ", summary.network, ", ", summary.method, ", profile ",
          summary.profile.empty() ? "-" : summary.profile, ", epoch ", summary.epoch, ", step ",
          summary.step, ", config ", trainers::config_hash(summary.config), "\n"));
  TextTable table{{"tensor", "type", "shape", "range"}, {}};
  for (const auto& [name, entry] : archive.tensors()) {
    table.rows.push_back({name, std::string(to_word(entry.tensor.dtype())),
                          to_string(entry.tensor.shape()), range_text(entry.tensor)});
  }
  say(arguments, format_table(table));
  const nlohmann::json quantizers = print_quantizers(arguments, archive, summary.graph_text);
  const CodeRows codes = code_rows(summary.codes);
  if (!codes.empty()) say(arguments, "\n" + code_table(codes));
  write_json_option(arguments, {{{"network", summary.network},
                                 {"method", summary.method},
                                 {"profile", summary.profile},
                                 {"epoch", summary.epoch},
                                 {"step", summary.step},
                                 {"tensors", archive.tensors().size()},
                                 {"quantizers", quantizers},
                                 {"codes", code_json(codes)},
                                 {"config_hash", trainers::config_hash(summary.config)}}});
}

/// Shape that a built-in network is printed for: the data's, where the data set tells it cheaply.
models::NetworkShape shape_of(const Arguments& arguments) {
  const trainers::Config config = trainers::with_overrides(trainers::Config(), arguments.overrides);
  models::NetworkShape shape;
  shape.classes = config.data.classes;
  if (config.data.reader == "synthetic") {
    shape.channels = config.data.synthetic_channels;
    shape.height = config.data.synthetic_height;
    shape.width = config.data.synthetic_width;
  }
  return shape;
}

void print_graph(const Arguments& arguments, const layers::Graph& graph) {
  if (arguments.has("text")) {
    say(arguments, graph.to_text());
  } else {
    TextTable table{{"node", "op", "inputs", "attributes"}, {}};
    for (const layers::Node& node : graph.nodes()) {
      std::string inputs;
      for (const std::string& input : node.inputs) inputs += (inputs.empty() ? "" : ", ") + input;
      std::string attributes;
      for (const auto& [key, value] : node.attributes)
        attributes += cat(attributes.empty() ? "" : ", ", key, "=", value);
      table.rows.push_back({node.name, node.op, inputs, attributes});
    }
    say(arguments, format_table(table));
  }
  write_json_option(arguments, {{{"nodes", graph.nodes().size()}, {"text", graph.to_text()}}});
}

/// @throws ConfigError unless the value is a number.
float real_option(const Arguments& arguments, const std::string& name, float fallback) {
  if (!arguments.has(name)) return fallback;
  const std::string text = arguments.value(name);
  float value = 0.0F;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc{} || rest != end) {
    throw ConfigError({"--" + name, "a number that f32 holds", cat("'", text, "'"), ""});
  }
  return value;
}

/// HDF5 files begin with these bytes.
bool is_hdf5(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;  // a pipe would wait for its writer
  std::ifstream file(path, std::ios::binary);
  char magic[4] = {};
  file.read(magic, sizeof magic);
  return file && std::string_view(magic, sizeof magic) == "\x89HDF";
}

}  // namespace

int run_inspect(const Arguments& arguments) {
  const std::string network = arguments.value("network");
  const std::vector<std::string>& files = arguments.positionals;
  const int asked =
      (network.empty() ? 0 : 1) + (files.empty() ? 0 : 1) + (arguments.has("number") ? 1 : 0);
  if (asked != 1) {
    throw ConfigError({"bitloom inspect", "a FILE, --network N or --number X",
                       asked == 0 ? "neither" : "several of them",
                       "bitloom inspect --help shows examples"});
  }
  if (arguments.has("number")) {
    const float number = real_option(arguments, "number", 0.0F);
    const float largest = real_option(arguments, "largest", 0.0F);
    say(arguments, number_text(number, largest));
    write_json_option(arguments, {number_json(number, largest)});
    return kExitDone;
  }
  if (!network.empty()) {
    print_graph(arguments, models::build_network(network, shape_of(arguments)));
    return kExitDone;
  }
  if (files.size() == 2) {
    print_difference(arguments, files[0], files[1]);
    return kExitDone;
  }
  const fs::path path = files.front();
  if (fs::exists(path) && !is_hdf5(path)) {
    print_graph(arguments, layers::Graph::parse(io::read_whole_file(path, 1 << 20), path.string()));
    return kExitDone;
  }
  const Archive archive = io::load_archive(path);
  if (archive.schema_name() == "bitloom.model") {
    const ModelFile file = load_model_file(path);
    if (arguments.has("text")) {
      print_graph(arguments, layers::Graph::parse(file.model.graph_text, path.string()));
    } else {
      print_model(arguments, file, archive);
    }
  } else if (arguments.has("text")) {
    print_graph(arguments, layers::Graph::parse(trainers::summarize_checkpoint(path).graph_text,
                                                path.string()));
  } else {
    print_checkpoint(arguments, path, archive);
  }
  return kExitDone;
}

}  // namespace bitloom::tools
