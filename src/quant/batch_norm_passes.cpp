#include "bitloom/quant/batch_norm_passes.h"

#include <cmath>
#include <map>

#include "bitloom/core/error.h"
#include "bitloom/kernels/shift_batch_norm.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

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
  float* bias = store
                    .declare(cat(product.name, ".bias"), Shape{channels}, layers::Role::kBias,
                             {.constant = 0.0F})
                    .value.data<float>();
  const ChannelAffines affines = channel_affines(product.name, &norm, store);
  for (std::int64_t o = 0; o < channels; ++o) {
    const integer::ChannelAffine affine = affines.at(o);
    bias[o] = static_cast<float>(affine.offset);
    for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) {
      float& w = weight.data<float>()[i];
      w = static_cast<float>(static_cast<double>(w) * affine.slope);
    }
  }
  for (const char* word : {".gamma", ".beta", ".running_mean", ".running_var"}) {
    store.erase(norm.name + word);
  }
}

// AP2(gamma) * AP2(1 / sqrt(variance + epsilon)).
double shift_slope(const ChannelAffines& of, std::int64_t channel) {
  float inverse = 0.0F;
  float factor = 0.0F;
  kernels::shift_norm_factors(of.variance + channel, of.gamma + channel, 1,
                              static_cast<float>(of.epsilon), &inverse, &factor);
  return static_cast<double>(factor) * static_cast<double>(inverse);
}

}  // namespace

double ChannelAffines::inverse_deviation(std::int64_t channel) const {
  return 1.0 / std::sqrt(static_cast<double>(variance[channel]) + epsilon);
}

integer::ChannelAffine ChannelAffines::at(std::int64_t channel) const {
  integer::ChannelAffine affine;
  if (gamma != nullptr) {
    affine.slope = shifts ? shift_slope(*this, channel)
                          : static_cast<double>(gamma[channel]) /
                                std::sqrt(static_cast<double>(variance[channel]) + epsilon);
    affine.offset =
        static_cast<double>(beta[channel]) - static_cast<double>(mean[channel]) * affine.slope;
  }
  if (bias != nullptr) affine.offset += static_cast<double>(bias[channel]) * affine.slope;
  return affine;
}

ChannelAffines channel_affines(const std::string& product, const Node* batch_norm,
                               const ParameterStore& store) {
  ChannelAffines affines;
  const std::string bias = cat(product, ".bias");
  if (store.has(bias)) affines.bias = store.at(bias).value.data<float>();
  if (batch_norm == nullptr) return affines;
  const auto values = [&](const char* word) {
    return store.at(batch_norm->name + word).value.data<float>();
  };
  affines.gamma = values(".gamma");
  affines.beta = values(".beta");
  affines.mean = values(".running_mean");
  affines.variance = values(".running_var");
  affines.epsilon = batch_norm->real("epsilon", 1e-5);
  affines.shifts = batch_norm->op == "shift_batch_norm";
  return affines;
}

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
