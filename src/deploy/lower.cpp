#include "bitloom/deploy/lower.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "bitloom/integer/requantize.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "channelwise_lowering.h"
#include "fixed_point_lowering.h"
#include "model_draft.h"
#include "plain_lowering.h"
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
      : graph_(graph),
        store_(store),
        options_(options),
        draft_(graph, store),
        products_(graph, store, options, draft_.model()) {}

  Model run() {
    Model& model = draft_.model();
    model.network = options_.network;
    model.method = options_.method;
    model.profile = options_.profile;
    model.config_text = options_.config_text;
    model.graph_text = graph_.to_text();
    for (const auto& [name, parameter] : store_.all()) require_finite(name, parameter.value);
    channelwise_ = options_.method == "float" || has_few_levels();
    for (Chain& chain : quant::chains_of(graph_)) {
      for (const Node* node : chain.nodes) inside_.insert(node->name);
      const std::string end = chain.end->name;
      chains_.emplace(end, std::move(chain));
    }
    for (const Node& node : graph_.nodes()) visit(node);
    flatten_logits();
    if (products_.integers_only()) require_integers_only(model);
    integer::validate(model);
    return std::move(model);
  }

 private:
  void visit(const Node& node) {
    if (const auto it = chains_.find(node.name); it != chains_.end()) {
      emit(it->second);
    } else if (inside_.contains(node.name) || draft_.has(node.name) || node.op == "parameter" ||
               is_weight_quantizer(node)) {
      return;  // read where a layer needs it
    } else if (node.op == "input") {
      add_input(draft_, node, options_.normalization);
    } else if (node.op == "max_pool" || quant::is_average(node)) {
      pool(node);
    } else if (node.op == "concat") {
      add_concat(draft_, node);
    } else if (channelwise_ &&
               (quant::is_batch_norm(node) || quant::is_clip(node) || quant::is_fake_quant(node))) {
      add_channel_chain(channel_chain(graph_, node));
    } else if (node.op == "prelu" || node.op == "rprelu") {
      add_real(node, prelu_layer(node, store_), draft_.info(node.inputs[0]).shape);
    } else if (node.op == "k_map") {
      add_real(node, k_map_layer(node),
               k_map_output(graph_, node, draft_.info(node.inputs[0]).shape));
    } else if (node.op == "scale_map") {
      Layer layer;
      layer.name = node.name;
      layer.op = LayerOp::kScaleMap;
      add_real(node, std::move(layer), draft_.info(node.inputs[0]).shape);
    } else if (node.op == "flatten" || node.op == "dropout") {
      draft_.share(node.name, draft_.index(node.inputs[0]));  // the same memory
    } else {
      throw ConfigError(ErrorText{node.name, "a node that an exported layer can hold",
                                  cat(node.op, " of ", node.inputs[0]),
                                  "put it behind a convolution that nothing else reads"});
    }
  }

  // A pool whose batch norm and sign went in front of it.
  void pool(const Node& node) {
    const auto folded = pooled_signs_.find(node.name);
    if (folded == pooled_signs_.end()) return add_pool(draft_, node, {});
    draft_.share(folded->second.fake_quant->name, draft_.next_index());
    add_pool(draft_, node, falling_channels(*folded->second.batch_norm, store_));
  }

  // A layer of reals that reads what its node reads.
  void add_real(const Node& node, Layer layer, const Shape& shape) {
    for (const std::string& input : node.inputs) {
      if (draft_.info(input).dtype != DType::kF32) {
        throw ConfigError(ErrorText{node.name, "real inputs", cat("the codes of ", input),
                                    "put no fake_quant node in front of it"});
      }
      layer.inputs.push_back(draft_.index(input));
    }
    layer.mode = ComputeMode::kFloat;
    draft_.add_layer(std::move(layer), {.name = node.name, .shape = shape}, node.name);
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
    TensorInfo output =
        draft_.describe(chain.end->name, draft_.info(source).shape, chain.fake_quant);
    Layer layer = affine_layer(chain, store_, draft_.info(source), output);
    layer.inputs = {draft_.index(source)};
    draft_.add_layer(std::move(layer), std::move(output), chain.end->name);
    for (const Node* node : chain.nodes) inside_.insert(node->name);
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

  // Logits of a global average are [1, classes] too.
  void flatten_logits() {
    Model& model = draft_.model();
    if (model.tensors.empty() || model.layers.empty()) return;
    TensorInfo& logits = model.tensors.back();
    if (model.layers.back().op == LayerOp::kGlobalAvgPool) logits.shape = {1, logits.shape.c()};
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
    const auto real = [&](const std::string& name) {
      return draft_.info(name).dtype == DType::kF32;
    };
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
    layer.inputs = {draft_.index(chain.head->inputs[0])};
    if (chain.add != nullptr) layer.inputs.push_back(draft_.index(chain.add->inputs[1]));
    const Shape& source = draft_.info(layer.inputs[0]).shape;
    TensorInfo output =
        draft_.describe(chain.end->name, products_.output_shape(chain, source), chain.fake_quant);
    products_.fill(chain, output, layer);
    subtract_thresholds(chain, store_, layer);
    draft_.add_layer(std::move(layer), std::move(output), chain.end->name);
  }

  void emit_add(const Chain& chain) {
    Layer layer;
    layer.name = chain.head->name;
    layer.op = LayerOp::kAdd;
    layer.clip = chain.bounds();
    layer.inputs = {draft_.index(chain.head->inputs[0]), draft_.index(chain.head->inputs[1])};
    const TensorInfo& branch = draft_.info(layer.inputs[0]);
    const TensorInfo& residual = draft_.info(layer.inputs[1]);
    TensorInfo output = draft_.describe(chain.end->name, branch.shape, chain.fake_quant);
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
    draft_.add_layer(std::move(layer), std::move(output), chain.end->name);
  }

  const Graph& graph_;
  const ParameterStore& store_;
  const LowerOptions& options_;
  ModelDraft draft_;
  ProductLowering products_;
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
