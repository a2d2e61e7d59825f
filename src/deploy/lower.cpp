#include "bitloom/deploy/lower.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "bitloom/integer/requantize.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "channelwise_lowering.h"
#include "fixed_point_lowering.h"
#include "product_lowering.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::Layer;
using integer::LayerOp;
using integer::Model;
using integer::TensorInfo;
using layers::Graph;
using layers::Node;
using layers::ParameterStore;
using quant::Chain;

class Lowering {
 public:
  Lowering(const Graph& graph, const ParameterStore& store, const LowerOptions& options)
      : graph_(graph), store_(store), options_(options), products_(graph, store, options, model_) {}

  Model run() {
    model_.network = options_.network;
    model_.method = options_.method;
    model_.profile = options_.profile;
    model_.config_text = options_.config_text;
    model_.graph_text = graph_.to_text();
    for (const auto& [name, parameter] : store_.all()) require_finite(name, parameter.value);
    channelwise_ = options_.method == "float" || has_few_levels();
    for (Chain& chain : quant::chains_of(graph_)) {
      for (const Node* node : chain.nodes) inside_.insert(node->name);
      const std::string end = chain.end->name;
      chains_.emplace(end, std::move(chain));
    }
    for (const Node& node : graph_.nodes()) visit(node);
    flatten_logits();
    if (products_.integers_only()) require_integers_only(model_);
    integer::validate(model_);
    return std::move(model_);
  }

 private:
  void visit(const Node& node) {
    if (const auto it = chains_.find(node.name); it != chains_.end()) {
      emit(it->second);
    } else if (inside_.contains(node.name) || index_of_.contains(node.name) ||
               node.op == "parameter" || is_weight_quantizer(node)) {
      return;  // read where a layer needs it
    } else if (node.op == "input") {
      add_input(node);
    } else if (node.op == "max_pool" || quant::is_average(node)) {
      add_pool(node);
    } else if (node.op == "concat") {
      add_concat(node);
    } else if (channelwise_ &&
               (quant::is_batch_norm(node) || quant::is_clip(node) || quant::is_fake_quant(node))) {
      add_channel_chain(channel_chain(graph_, node));
    } else if (node.op == "prelu" || node.op == "rprelu") {
      add_real(node, prelu_layer(node, store_), info(node.inputs[0]).shape);
    } else if (node.op == "k_map") {
      add_real(node, k_map_layer(node), k_map_output(graph_, node, info(node.inputs[0]).shape));
    } else if (node.op == "scale_map") {
      Layer layer;
      layer.name = node.name;
      layer.op = LayerOp::kScaleMap;
      add_real(node, std::move(layer), info(node.inputs[0]).shape);
    } else if (node.op == "flatten" || node.op == "dropout") {
      index_of_[node.name] = index_of_.at(node.inputs[0]);  // the same memory
    } else {
      throw ConfigError(ErrorText{node.name, "a node that an exported layer can hold",
                                  cat(node.op, " of ", node.inputs[0]),
                                  "put it behind a convolution that nothing else reads"});
    }
  }

  const TensorInfo& info(const std::string& node) const {
    return model_.tensors[static_cast<std::size_t>(index_of_.at(node))];
  }

  // A layer of reals that reads what its node reads.
  void add_real(const Node& node, Layer layer, const Shape& shape) {
    for (const std::string& input : node.inputs) {
      if (info(input).dtype != DType::kF32) {
        throw ConfigError(ErrorText{node.name, "real inputs", cat("the codes of ", input),
                                    "put no fake_quant node in front of it"});
      }
      layer.inputs.push_back(index_of_.at(input));
    }
    layer.mode = ComputeMode::kFloat;
    layer.output = add_tensor({.name = node.name, .shape = shape}, node.name);
    model_.layers.push_back(std::move(layer));
  }

  // Networks of signs and ternary codes put batch norms in front of products and keep real
  // shortcuts, and so do their float versions; others would stay float in silence if such nodes
  // were let through.
  bool has_few_levels() const {
    return std::ranges::any_of(graph_.nodes(), [](const Node& node) {
      return quant::is_fake_quant(node) && quant::format_of(node).grid != integer::Grid::kAffine;
    });
  }

  // Batch norm and quantizer of a value that is a tensor of the model already.
  void add_channel_chain(const ChannelChain& chain) {
    const std::string& source = chain.nodes.front()->inputs[0];
    TensorInfo output = describe(chain.end->name, info(source).shape, chain.fake_quant);
    Layer layer = affine_layer(chain, store_, info(source), output);
    layer.inputs = {index_of_.at(source)};
    layer.output = add_tensor(std::move(output), chain.end->name);
    for (const Node* node : chain.nodes) inside_.insert(node->name);
    model_.layers.push_back(std::move(layer));
  }

  bool is_weight_quantizer(const Node& node) const {
    return quant::is_fake_quant(node) && graph_.find(node.inputs[0])->op == "parameter";
  }

  static void require_finite(const std::string& name, const Tensor& values) {
    for (const float value : values.span<float>()) {
      if (!std::isfinite(value)) {
        throw NumericError(
            ErrorText{name, "finite values", cat(value), "the training diverged: lower train.lr"});
      }
    }
  }

  // A fake_quant node that is the only reader of `name`, or nullptr.
  const Node* quantizer_behind(const std::string& name) const {
    const std::vector<std::string> readers = graph_.readers(name);
    const Node* reader = readers.size() == 1 ? graph_.find(readers[0]) : nullptr;
    return reader != nullptr && quant::is_fake_quant(*reader) ? reader : nullptr;
  }

  int add_tensor(TensorInfo tensor, const std::string& node) {
    model_.tensors.push_back(std::move(tensor));
    index_of_[node] = static_cast<int>(model_.tensors.size()) - 1;
    return index_of_[node];
  }

  // Type, format and scale of what a fake_quant node emits; f32 without one.
  TensorInfo describe(const std::string& name, const Shape& shape, const Node* quantizer) const {
    TensorInfo tensor{.name = name, .shape = shape};
    if (quantizer == nullptr) return tensor;
    tensor.format = quant::format_of(*quantizer);
    tensor.dtype = tensor.format.is_signed ? DType::kS8 : DType::kU8;
    tensor.scale = store_.at(quant::scale_name(*quantizer)).value.data<float>()[0];
    return tensor;
  }

  void add_input(const Node& node) {
    const Node* quantizer = quantizer_behind(node.name);
    const TensorInfo tensor = describe(node.name, node.shape("shape"), quantizer);
    const ConstTensorView table = options_.normalization;
    if (table.shape() != Shape{tensor.shape.c(), 256}) {
      throw ShapeError(ErrorText{node.name, to_string(Shape{tensor.shape.c(), 256}),
                                 to_string(table.shape()), "the data have another channel count"});
    }
    model_.input_table = Tensor(tensor.dtype, table.shape());
    if (quantizer == nullptr) {
      copy(table, model_.input_table);
    } else {
      kernels::quantize(table.data<float>(),
                        {.rows = 1,
                         .cols = table.elements(),
                         .scale = &tensor.scale,
                         .scale_per_row = false,
                         .format = tensor.format},
                        model_.input_table.raw());
      index_of_[quantizer->name] = 0;
    }
    add_tensor(tensor, node.name);
  }

  void add_pool(const Node& node) {
    TensorInfo tensor = model_.tensors[static_cast<std::size_t>(index_of_.at(node.inputs[0]))];
    Layer layer;
    layer.name = node.name;
    layer.inputs = {index_of_.at(node.inputs[0])};
    layer.mode = mode_without_weights(tensor);
    tensor.name = node.name;
    if (node.op == "global_avg_pool") {
      layer.op = LayerOp::kGlobalAvgPool;
      tensor.shape = Shape{1, tensor.shape.c(), 1, 1};
    } else {
      layer.op = node.op == "max_pool" ? LayerOp::kMaxPool : LayerOp::kAvgPool;
      layer.window = layers::pool_window(node);
      tensor.shape = kernels::pool_output(node.name, tensor.shape, layer.window);
    }
    if (quant::is_average(node)) round_in_average(node, tensor);
    if (const auto folded = pooled_signs_.find(node.name); folded != pooled_signs_.end()) {
      layer.lowest = falling_channels(*folded->second.batch_norm, store_);
      index_of_[folded->second.fake_quant->name] = static_cast<int>(model_.tensors.size());
    }
    layer.output = add_tensor(std::move(tensor), node.name);
    model_.layers.push_back(std::move(layer));
  }

  // The fake_quant node behind an average of codes is the average's own rounding.
  void round_in_average(const Node& node, const TensorInfo& tensor) {
    if (tensor.dtype == DType::kF32) return;
    const Node* quantizer = quantizer_behind(node.name);
    if (quantizer == nullptr) {
      throw ConfigError(ErrorText{node.name, "a fake_quant node behind a quantized average", "none",
                                  "insert one with share= its source's"});
    }
    require_grid(*quantizer, describe(node.name, tensor.shape, quantizer), tensor);
    index_of_[quantizer->name] = static_cast<int>(model_.tensors.size());
  }

  static void require_grid(const Node& node, const TensorInfo& found, const TensorInfo& wanted) {
    if (found.dtype == wanted.dtype && found.format == wanted.format &&
        found.scale == wanted.scale) {
      return;
    }
    throw ConfigError(ErrorText{node.name, cat("the grid of ", wanted.name),
                                "another scale, range or zero point",
                                "let its fake_quant node share the other's (share=NODE)"});
  }

  void add_concat(const Node& node) {
    Layer layer;
    layer.name = node.name;
    layer.op = LayerOp::kConcat;
    const TensorInfo first = model_.tensors[static_cast<std::size_t>(index_of_.at(node.inputs[0]))];
    std::int64_t channels = 0;
    for (const std::string& name : node.inputs) {
      layer.inputs.push_back(index_of_.at(name));
      const TensorInfo& input = model_.tensors[static_cast<std::size_t>(layer.inputs.back())];
      if (first.dtype != DType::kF32 || input.dtype != DType::kF32)
        require_grid(node, input, first);
      channels += input.shape.c();
    }
    layer.mode = mode_without_weights(first);
    TensorInfo tensor = first;
    tensor.name = node.name;
    tensor.shape = Shape{1, channels, first.shape.h(), first.shape.w()};
    layer.output = add_tensor(std::move(tensor), node.name);
    model_.layers.push_back(std::move(layer));
  }

  static ComputeMode mode_without_weights(const TensorInfo& source) {
    return source.dtype == DType::kF32 ? ComputeMode::kFloat : ComputeMode::kStatic;
  }

  // Logits of a global average are [1, classes] too.
  void flatten_logits() {
    if (model_.tensors.empty() || model_.layers.empty()) return;
    TensorInfo& logits = model_.tensors.back();
    if (model_.layers.back().op == LayerOp::kGlobalAvgPool) logits.shape = {1, logits.shape.c()};
  }

  // A quantizer that the chain's layer cannot hold, because it computes with reals, stands alone.
  void emit(const Chain& chain) {
    const bool reals = reads_reals(chain);
    if (reals && chain.fake_quant != nullptr && channelwise_) {
      emit_layer(without_quantizer(chain));
      add_channel_chain(channel_chain(graph_, *chain.fake_quant));
    } else {
      emit_layer(reals ? chain : with_pooled_sign(chain));
    }
  }

  bool reads_reals(const Chain& chain) const {
    const auto real = [&](const std::string& name) { return info(name).dtype == DType::kF32; };
    return real(chain.head->inputs[0]) || (chain.add != nullptr && real(chain.add->inputs[1])) ||
           (chain.head->op == "add" && real(chain.head->inputs[1]));
  }

  static Chain without_quantizer(Chain chain) {
    chain.nodes.pop_back();  // dropout in front of it is the identity
    chain.fake_quant = nullptr;
    chain.end = chain.nodes.back();
    return chain;
  }

  // The product takes the batch norm and the sign from behind its pool.
  Chain with_pooled_sign(Chain chain) {
    const PooledSigns found = pooled_signs(graph_, chain);
    if (found.pool == nullptr || !quant::is_fake_quant(*graph_.find(chain.head->inputs[1]))) {
      return chain;
    }
    chain.batch_norm = found.batch_norm;
    chain.fake_quant = found.fake_quant;
    inside_.insert({found.batch_norm->name, found.fake_quant->name});
    pooled_signs_.emplace(found.pool->name, found);
    return chain;
  }

  void emit_layer(const Chain& chain) {
    if (chain.head->op == "add") {
      emit_add(chain);
      return;
    }
    Layer layer = products_.start(chain);
    layer.inputs = {index_of_.at(chain.head->inputs[0])};
    if (chain.add != nullptr) layer.inputs.push_back(index_of_.at(chain.add->inputs[1]));
    const Shape& source = model_.tensors[static_cast<std::size_t>(layer.inputs[0])].shape;
    TensorInfo output =
        describe(chain.end->name, products_.output_shape(chain, source), chain.fake_quant);
    products_.fill(chain, output, layer);
    subtract_thresholds(chain, store_, layer);
    layer.output = add_tensor(std::move(output), chain.end->name);
    model_.layers.push_back(std::move(layer));
  }

  void emit_add(const Chain& chain) {
    Layer layer;
    layer.name = chain.head->name;
    layer.op = LayerOp::kAdd;
    layer.clip = chain.bounds();
    layer.inputs = {index_of_.at(chain.head->inputs[0]), index_of_.at(chain.head->inputs[1])};
    const TensorInfo& branch = model_.tensors[static_cast<std::size_t>(layer.inputs[0])];
    const TensorInfo& residual = model_.tensors[static_cast<std::size_t>(layer.inputs[1])];
    TensorInfo output = describe(chain.end->name, branch.shape, chain.fake_quant);
    const bool codes = branch.dtype != DType::kF32;
    if (codes != (residual.dtype != DType::kF32) || codes != (chain.fake_quant != nullptr)) {
      throw ConfigError(ErrorText{layer.name, "codes on both inputs and the output, or on none",
                                  "a mix", "put fake_quant nodes on all three"});
    }
    layer.mode = codes ? ComputeMode::kStatic : ComputeMode::kFloat;
    if (codes && products_.integers_only()) {
      fill_fixed_point_add({branch, &residual, output}, layer);
    } else if (codes) {
      layer.residual_ratio = integer::scale_ratio(residual.scale, output.scale);
    }
    layer.output = add_tensor(std::move(output), chain.end->name);
    model_.layers.push_back(std::move(layer));
  }

  const Graph& graph_;
  const ParameterStore& store_;
  const LowerOptions& options_;
  Model model_;
  ProductLowering products_;
  std::map<std::string, int> index_of_;  // node > tensor
  std::map<std::string, Chain> chains_;  // end node > chain
  std::set<std::string> inside_;         // nodes that a chain holds
  bool channelwise_ = false;             // batch norms, clips, quantizers may stand alone
  std::map<std::string, PooledSigns> pooled_signs_;  // max_pool > what went in front of it
};

}  // namespace

Model lower(const Graph& graph, const ParameterStore& store, const LowerOptions& options) {
  return Lowering(graph, store, options).run();
}

}  // namespace bitloom::deploy
