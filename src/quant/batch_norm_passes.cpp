#include "bitloom/quant/batch_norm_passes.h"

#include <cmath>
#include <map>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

bool is_product(const Node& node) { return node.op == "conv2d" || node.op == "linear"; }

// The product that only this batch norm reads, or nullptr.
const Node* product_before(const Graph& graph, const Node& node) {
  if (node.op != "batch_norm") return nullptr;
  const Node* source = graph.find(node.inputs[0]);
  return is_product(*source) && graph.readers(source->name).size() == 1 ? source : nullptr;
}

void fold_into(const Node& product, const Node& norm, ParameterStore& store) {
  Tensor& weight = store.at(product.inputs[1]).value;
  const std::int64_t channels = weight.shape()[0];
  const std::int64_t cols = weight.elements() / channels;
  const auto values = [&](const char* word) {
    return store.at(cat(norm.name, ".", word)).value.data<float>();
  };
  float* bias = store
                    .declare(cat(product.name, ".bias"), Shape{channels}, layers::Role::kBias,
                             {.constant = 0.0F})
                    .value.data<float>();
  const double epsilon = norm.real("epsilon", 1e-5);
  for (std::int64_t o = 0; o < channels; ++o) {
    const double slope = static_cast<double>(values("gamma")[o]) /
                         std::sqrt(static_cast<double>(values("running_var")[o]) + epsilon);
    const double mean = static_cast<double>(values("running_mean")[o]);
    bias[o] = static_cast<float>(static_cast<double>(values("beta")[o]) +
                                 (static_cast<double>(bias[o]) - mean) * slope);
    for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) {
      float& w = weight.data<float>()[i];
      w = static_cast<float>(static_cast<double>(w) * slope);
    }
  }
  for (const char* word : {".gamma", ".beta", ".running_mean", ".running_var"}) {
    store.erase(norm.name + word);
  }
}

}  // namespace

Graph fold_batch_norm(const Graph& graph, ParameterStore& store) {
  Graph out;
  std::map<std::string, std::string> renamed;  // batch norm > its product
  for (const Node& node : graph.nodes()) {
    if (const Node* product = product_before(graph, node); product != nullptr) {
      if (graph.readers(product->inputs[1]).size() != 1) {
        throw ConfigError(ErrorText{node.name, "a weight of one layer to fold into",
                                    cat(product->inputs[1], ", which several read"),
                                    "set quant.fold_batch_norm=false"});
      }
      fold_into(*product, node, store);
      out.find(product->name)->set("bias", "1");
      renamed[node.name] = product->name;
      continue;
    }
    Node copy = node;
    for (std::string& input : copy.inputs) {
      if (const auto it = renamed.find(input); it != renamed.end()) input = it->second;
    }
    out.add(std::move(copy));
  }
  return out;
}

Graph freeze_batch_norm(const Graph& graph) {
  Graph out = graph;
  for (const Node& node : graph.nodes()) {
    if (node.op == "batch_norm") out.find(node.name)->set("frozen", "1");
  }
  return out;
}

}  // namespace bitloom::quant
