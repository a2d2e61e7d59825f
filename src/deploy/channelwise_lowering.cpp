#include "channelwise_lowering.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/integer/requantize.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::Layer;
using integer::LayerOp;
using layers::Graph;
using layers::Node;
using layers::ParameterStore;

const Node* only_reader(const Graph& graph, const Node& node) {
  const std::vector<std::string> readers = graph.readers(node.name);
  return readers.size() == 1 ? graph.find(readers[0]) : nullptr;
}

// A binary quantizer decides by sign.
bool is_sign(const Node& node) {
  return quant::is_fake_quant(node) && quant::format_of(node).grid == integer::Grid::kBinary;
}

// Thresholds [C] of an rsign quantizer of activations; nullptr for others.
const float* thresholds_of(const Node* quantizer, const ParameterStore& store) {
  if (quantizer == nullptr || !is_sign(*quantizer)) return nullptr;
  const std::string name = cat(quantizer->name, ".threshold");
  return store.has(name) ? store.at(name).value.data<float>() : nullptr;
}

Tensor parameter(const Node& node, const char* word, const ParameterStore& store) {
  const std::string name = cat(node.name, word);
  return store.has(name) ? store.at(name).value.clone() : Tensor();
}

}  // namespace

ChannelChain channel_chain(const Graph& graph, const Node& start) {
  ChannelChain chain;
  for (const Node* node = &start; node != nullptr; node = only_reader(graph, *node)) {
    if (node->op == "dropout" && node != &start) continue;
    if (quant::is_batch_norm(*node) && chain.end == nullptr) {
      chain.batch_norm = node;
    } else if (quant::is_clip(*node) && chain.clip == nullptr) {
      chain.clip = node;
    } else if (quant::is_fake_quant(*node)) {
      chain.fake_quant = node;
    } else {
      break;
    }
    chain.end = node;
    chain.nodes.push_back(node);
    if (chain.fake_quant != nullptr) break;
  }
  return chain;
}

Layer affine_layer(const ChannelChain& chain, const ParameterStore& store,
                   const integer::TensorInfo& source, const integer::TensorInfo& output) {
  const bool codes = output.dtype != DType::kF32;
  Layer layer;
  layer.name = chain.nodes.front()->name;
  layer.op = LayerOp::kAffine;
  layer.mode = codes ? ComputeMode::kStatic : ComputeMode::kFloat;
  if (chain.clip != nullptr) layer.clip = quant::clip_of(*chain.clip);
  const integer::ChannelScales scales{
      .source = source.dtype == DType::kF32 ? 1.0 : static_cast<double>(source.scale),
      .weight = 1.0,
      .destination = codes ? static_cast<double>(output.scale) : 1.0,
      .destination_zero_point = codes ? output.format.zero_point : 0};
  const std::int64_t channels = source.shape.c();
  layer.multiplier = Tensor(DType::kF32, Shape{channels});
  layer.bias = Tensor(DType::kF32, Shape{channels});
  const quant::ChannelAffines affines =
      quant::channel_affines(chain.nodes.front()->name, chain.batch_norm, store);
  const float* thresholds = thresholds_of(chain.fake_quant, store);
  for (std::int64_t c = 0; c < channels; ++c) {
    integer::ChannelAffine affine = affines.at(c);
    if (thresholds != nullptr) affine.offset -= static_cast<double>(thresholds[c]);
    const integer::FoldedChannel folded = integer::fold_channel(scales, affine);
    layer.multiplier.data<float>()[c] = folded.multiplier;
    layer.bias.data<float>()[c] = folded.bias;
  }
  return layer;
}

void subtract_thresholds(const quant::Chain& chain, const ParameterStore& store, Layer& layer) {
  const float* thresholds = thresholds_of(chain.fake_quant, store);
  if (thresholds == nullptr) return;
  const quant::ChannelAffines affines =
      quant::channel_affines(chain.head->name, chain.batch_norm, store);
  for (std::int64_t o = 0; o < layer.bias.elements(); ++o) {
    layer.bias.data<float>()[o] =
        static_cast<float>(affines.at(o).offset - static_cast<double>(thresholds[o]));
  }
}

Layer prelu_layer(const Node& node, const ParameterStore& store) {
  Layer layer;
  layer.name = node.name;
  layer.op = LayerOp::kPrelu;
  layer.multiplier = parameter(node, ".slope", store);
  layer.shift = parameter(node, ".threshold", store);
  layer.bias = parameter(node, ".offset", store);
  return layer;
}

Layer k_map_layer(const Node& node) {
  Layer layer;
  layer.name = node.name;
  layer.op = LayerOp::kKMap;
  layer.window = layers::box_window(node);
  return layer;
}

Shape k_map_output(const Graph& graph, const Node& node, const Shape& source) {
  const Node* maker = graph.find(node.inputs[0]);
  while (maker->op == "dropout") maker = graph.find(maker->inputs[0]);
  if (source.rank() != 4 || maker->op == "flatten") return {1, 1};
  const integer::Window window = k_map_layer(node).window;
  return {1, 1, window.output_h(source.h()), window.output_w(source.w())};
}

PooledSigns pooled_signs(const Graph& graph, const quant::Chain& chain) {
  if (chain.end != chain.head || chain.head->op == "add") return {};
  const Node* pool = only_reader(graph, *chain.end);
  if (pool == nullptr || pool->op != "max_pool") return {};
  const Node* norm = only_reader(graph, *pool);
  if (norm == nullptr || !quant::is_batch_norm(*norm)) return {};
  const Node* sign = only_reader(graph, *norm);
  if (sign == nullptr || !is_sign(*sign)) return {};
  return {.pool = pool, .batch_norm = norm, .fake_quant = sign};
}

Tensor falling_channels(const Node& batch_norm, const ParameterStore& store) {
  const Tensor& gamma = store.at(batch_norm.name + ".gamma").value;
  const auto values = gamma.span<float>();
  if (std::none_of(values.begin(), values.end(), [](float value) { return value < 0.0F; })) {
    return {};
  }
  Tensor falls(DType::kU8, gamma.shape());
  for (std::size_t c = 0; c < values.size(); ++c) {
    falls.data<std::uint8_t>()[c] = values[c] < 0.0F ? 1 : 0;
  }
  return falls;
}

}  // namespace bitloom::deploy
