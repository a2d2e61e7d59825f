#include "execution.h"

#include <algorithm>
#include <vector>

#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"
#include "bitloom/datasets/normalization.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/loop.h"
#include "model_file.h"

namespace bitloom::tools {
namespace {

constexpr const char* kFloat = "float";
constexpr const char* kFakeQuant = "fake-quant";

std::vector<std::string> executors(bool is_model) {
  return is_model ? backends::backend_names() : std::vector<std::string>{kFakeQuant, kFloat};
}

float real_of(ConstTensorView tensor, const integer::TensorInfo& info, std::int64_t i) {
  switch (tensor.dtype()) {
    case DType::kU8:
      return integer::dequantize(tensor.data<std::uint8_t>()[i], info.scale,
                                 info.format.zero_point);
    case DType::kS8:
      return integer::dequantize(tensor.data<std::int8_t>()[i], info.scale, info.format.zero_point);
    case DType::kBf16:
      return kernels::to_float(tensor.data<Bf16>()[i]);
    default:
      return tensor.data<float>()[i];
  }
}

Tensor reals_of(ConstTensorView tensor, const integer::TensorInfo& info) {
  Tensor out(DType::kF32, tensor.shape());
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    out.data<float>()[i] = real_of(tensor, info, i);
  }
  return out;
}

Execution run_model(const ExecutionRequest& request, ConstTensorView images) {
  const ModelFile file = load_model_file(request.path);
  const integer::Model& model = file.model;
  backends::Session session(
      model, {.backend = request.executor, .batch = images.shape().n(), .keep_all_tensors = true});
  const integer::TensorInfo& last = model.tensors.back();
  Tensor logits(last.dtype, last.shape.with_batch(images.shape().n()));
  session.run(images, logits);
  Execution out{.label = request.label(), .layers = {}};
  for (const integer::Layer& layer : model.layers) {
    const integer::TensorInfo& info = model.tensors[static_cast<std::size_t>(layer.output)];
    const bool codes = info.dtype != DType::kF32;
    out.layers.push_back({.layer = layer.name,
                          .op = std::string(integer::to_word(layer.op)),
                          .values = reals_of(session.tensor(layer.output), info),
                          .step = codes ? static_cast<double>(info.scale) : 0.0});
  }
  return out;
}

/// The node whose values a tensor of the exported model holds: with fake-quant nodes the quantizer
/// behind `name`; without them what stood in front of it.
std::string node_of(const layers::Graph& full, const layers::Graph& run, std::string name) {
  const std::vector<std::string> readers = full.readers(name);
  if (readers.size() == 1 && quant::is_fake_quant(*full.find(readers[0]))) name = readers[0];
  while (run.find(name) == nullptr) {
    const layers::Node* node = full.find(name);
    if (node == nullptr || node->inputs.empty()) {
      throw ConfigError({.place = "layer behind " + name,
                         .expected = "a node of the checkpoint's graph",
                         .found = "none",
                         .remedy = "export the checkpoint and compare the model"});
    }
    name = node->inputs.front();
  }
  return name;
}

Execution run_checkpoint(const ExecutionRequest& request, ConstTensorView images) {
  train::Checkpoint checkpoint = train::load_trained(request.path);
  const trainers::Config config =
      trainers::config_from_ini(checkpoint.config_text, request.path.string());
  const Tensor table = datasets::normalization_table(config.data, images.shape().c());
  const integer::Model model = train::lower_checkpoint(checkpoint, table);
  const bool simulated = request.executor == kFakeQuant;
  const layers::Graph graph =
      simulated ? checkpoint.graph : quant::strip_fake_quant(checkpoint.graph);
  layers::Network network(
      graph, simulated ? quant::quantized_layers() : layers::float_layers(), checkpoint.parameters,
      {.batch = images.shape().n(), .training = false, .keep_all_tensors = true});
  Tensor normalized(DType::kF32, images.shape());
  datasets::normalize(images, table, normalized);
  network.forward(normalized, layers::Phase::kEvaluate);
  Execution out{.label = request.label(), .layers = {}};
  for (const integer::Layer& layer : model.layers) {
    const integer::TensorInfo& info = model.tensors[static_cast<std::size_t>(layer.output)];
    const ConstTensorView values = network.tensor(node_of(checkpoint.graph, graph, info.name));
    Tensor copied(DType::kF32, values.shape());
    copy(values, copied);
    const bool codes = simulated && info.dtype != DType::kF32;
    out.layers.push_back({.layer = layer.name,
                          .op = std::string(integer::to_word(layer.op)),
                          .values = std::move(copied),
                          .step = codes ? static_cast<double>(info.scale) : 0.0});
  }
  return out;
}

}  // namespace

ExecutionRequest parse_execution(const std::string& text) {
  ExecutionRequest request{.path = text, .executor = ""};
  const std::size_t at = text.rfind('@');
  if (!std::filesystem::exists(request.path) && at != std::string::npos) {
    request.path = text.substr(0, at);
    request.executor = text.substr(at + 1);
  }
  request.is_model = io::load_archive(request.path).schema_name() == "bitloom.model";
  const std::vector<std::string> known = executors(request.is_model);
  if (request.executor.empty()) request.executor = known.front();
  if (std::find(known.begin(), known.end(), request.executor) != known.end()) return request;
  std::string list;
  for (const std::string& name : known) list += cat(list.empty() ? "" : ", ", name);
  throw ConfigError({.place = text,
                     .expected = cat("behind the @ one of ", list),
                     .found = cat("'", request.executor, "'"),
                     .remedy = request.is_model ? "float and fake-quant run checkpoints"
                                                : "export the checkpoint to run it on a backend"});
}

ExecutionInput input_of(const ExecutionRequest& request) {
  if (request.is_model) {
    ModelFile file = load_model_file(request.path);
    return {.config = std::move(file.config), .shape = file.model.tensors.front().shape};
  }
  const train::Checkpoint checkpoint = train::load_trained(request.path);
  return {.config = trainers::config_from_ini(checkpoint.config_text, request.path.string()),
          .shape = checkpoint.graph.nodes().front().shape("shape").with_batch(1)};
}

Execution run_execution(const ExecutionRequest& request, ConstTensorView images) {
  return request.is_model ? run_model(request, images) : run_checkpoint(request, images);
}

}  // namespace bitloom::tools
