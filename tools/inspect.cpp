#include "inspect.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/core/error.h"
#include "bitloom/layers/graph.h"

namespace bitloom::tools {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

/// Percent of weight values that a symmetric grid clips: beyond half a step outside its last code.
double outside_percent(const Tensor& weight, const Tensor& scale, double qmin, double qmax) {
  const std::int64_t channels = scale.elements();
  if (channels == 0 || weight.elements() % channels != 0) return kNone;
  const std::int64_t of_one = weight.elements() / channels;
  std::int64_t outside = 0;
  for (std::int64_t i = 0; i < weight.elements(); ++i) {
    const double code = weight.data<float>()[i] / scale.data<float>()[i / of_one];
    if (code < qmin - 0.5 || code > qmax + 0.5) ++outside;
  }
  return 100.0 * static_cast<double>(outside) / static_cast<double>(weight.elements());
}

std::string reals_text(const Tensor& scale, double low, double high) {
  const auto values = scale.span<float>();
  const double largest = *std::max_element(values.begin(), values.end());
  return cat(static_cast<float>(largest * low), " .. ", static_cast<float>(largest * high));
}

bool is_reals(const Archive& archive, const std::string& path) {
  return archive.has(path) && archive.tensor(path).dtype() == DType::kF32 &&
         archive.tensor(path).elements() > 0;
}

QuantizerRow row_of(const Archive& archive, const layers::Node& node) {
  QuantizerRow row{.node = node.name,
                   .quantizer = node.word("quantizer", "-"),
                   .codes = "-",
                   .scale = "-",
                   .reals = "-",
                   .outside_percent = kNone};
  if (node.has("share")) {
    row.quantizer = "shares " + node.word("share", "");
    return row;
  }
  if (!node.has("qmin") || !node.has("qmax")) return row;
  const std::int64_t qmin = node.integer("qmin", 0);
  const std::int64_t qmax = node.integer("qmax", 0);
  row.codes = cat(node.integer("bits", 0), " bits, ", qmin, " .. ", qmax);
  const std::string scale_path = cat("parameters/", node.name, ".scale");
  if (!is_reals(archive, scale_path)) return row;
  const Tensor& scale = archive.tensor(scale_path);
  row.scale = range_text(scale);
  // A learned zero point lies between codes; it has no place in the graph's line.
  if (archive.has(cat("parameters/", node.name, ".zero_point"))) return row;
  const auto zero_point = static_cast<double>(node.integer("zero_point", 0));
  const auto low = static_cast<double>(qmin) - zero_point;
  const auto high = static_cast<double>(qmax) - zero_point;
  row.reals = reals_text(scale, low, high);
  const std::string source = node.inputs.empty() ? "" : "parameters/" + node.inputs.front();
  // dorefa and pact bend a weight before its grid.
  const bool plain = row.quantizer != "dorefa" && row.quantizer != "pact";
  if (plain && is_reals(archive, source)) {
    row.outside_percent = outside_percent(archive.tensor(source), scale, low, high);
  }
  return row;
}

}  // namespace

std::string range_text(const Tensor& tensor) {
  if (tensor.empty() || tensor.dtype() != DType::kF32 || tensor.elements() == 0) return "-";
  const auto [low, high] =
      std::minmax_element(tensor.span<float>().begin(), tensor.span<float>().end());
  return *low == *high ? cat(*low) : cat(*low, " .. ", *high);
}

double ends_percent(const integer::Layer& layer) {
  if (layer.weight.empty() || layer.weight.dtype() != DType::kS8) return kNone;
  const auto codes = layer.weight.span<std::int8_t>();
  const auto ends = std::count_if(codes.begin(), codes.end(), [&](std::int8_t code) {
    return code == layer.weight_range.qmin || code == layer.weight_range.qmax;
  });
  return 100.0 * static_cast<double>(ends) / static_cast<double>(codes.size());
}

std::vector<std::int64_t> layer_bytes(const Archive& archive, std::size_t layers) {
  std::vector<std::int64_t> bytes(layers, 0);
  constexpr std::string_view kFolder = "layers/";
  for (const auto& [path, entry] : archive.tensors()) {
    if (!path.starts_with(kFolder)) continue;
    const std::size_t index = std::strtoull(path.c_str() + kFolder.size(), nullptr, 10);
    if (index < layers) bytes[index] += static_cast<std::int64_t>(entry.tensor.bytes());
  }
  return bytes;
}

std::vector<QuantizerRow> quantizer_rows(const Archive& checkpoint, const std::string& graph_text) {
  std::vector<QuantizerRow> rows;
  const layers::Graph graph = layers::Graph::parse(graph_text, checkpoint.source() + ": graph");
  for (const layers::Node& node : graph.nodes()) {
    if (node.op == "fake_quant") rows.push_back(row_of(checkpoint, node));
  }
  return rows;
}

}  // namespace bitloom::tools
