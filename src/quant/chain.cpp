#include "bitloom/quant/chain.h"

#include <set>
#include <string>

#include "bitloom/core/error.h"
#include "bitloom/quant/quantizer.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// Where `next`, which alone reads `value`, belongs in the chain; nullptr if it is not part of it.
const Node** place_of(Chain& chain, const Node& next, const Node& value) {
  const bool computing = chain.clip == nullptr && chain.fake_quant == nullptr;
  const bool product = is_product(*chain.head);
  if (is_batch_norm(next) && product && computing && chain.batch_norm == nullptr &&
      chain.add == nullptr) {
    return &chain.batch_norm;
  }
  if (next.op == "add" && product && computing && chain.add == nullptr &&
      next.inputs[0] == value.name && next.inputs[1] != value.name) {
    return &chain.add;
  }
  if (is_clip(next) && computing) return &chain.clip;
  if (is_fake_quant(next) && chain.fake_quant == nullptr) return &chain.fake_quant;
  return nullptr;
}

Chain chain_from(const Graph& graph, const Node& head) {
  Chain chain{.head = &head, .end = &head, .nodes = {&head}};
  std::vector<const Node*> dropped;  // dropout since the last node; inside if the chain goes on
  const Node* value = &head;
  while (const Node* next = only_reader(graph, *value)) {
    if (next->op == "dropout") {
      dropped.push_back(next);
    } else {
      const Node** place = place_of(chain, *next, *value);
      if (place == nullptr) break;
      *place = next;
      chain.nodes.insert(chain.nodes.end(), dropped.begin(), dropped.end());
      chain.nodes.push_back(next);
      dropped.clear();
      chain.end = next;
    }
    value = next;
  }
  return chain;
}

}  // namespace

integer::Clip Chain::bounds() const { return clip == nullptr ? integer::Clip() : clip_of(*clip); }

std::vector<Chain> chains_of(const Graph& graph) {
  std::vector<Chain> chains;
  std::set<const Node*> inside;
  const auto start = [&](const Node& head) {
    chains.push_back(chain_from(graph, head));
    inside.insert(chains.back().nodes.begin(), chains.back().nodes.end());
  };
  // An add comes after the product whose chain may hold it.
  for (const Node& node : graph.nodes()) {
    if (is_product(node) || (node.op == "add" && !inside.contains(&node))) start(node);
  }
  return chains;
}

bool is_batch_norm(const Node& node) {
  return node.op == "batch_norm" || node.op == "shift_batch_norm";
}

bool is_clip(const Node& node) {
  return node.op == "relu" || node.op == "relu6" || node.op == "hardtanh";
}

integer::Clip clip_of(const Node& node) {
  if (node.op == "relu") return integer::kRelu;
  if (node.op == "relu6") return integer::kRelu6;
  const integer::Clip clip{.low = static_cast<float>(node.real("low", -1.0)),
                           .high = static_cast<float>(node.real("high", 1.0))};
  if (!(clip.low < clip.high)) {
    throw ConfigError(
        ErrorText{node.name, "low below high", cat("[", clip.low, ", ", clip.high, "]"), ""});
  }
  return clip;
}

bool is_average(const Node& node) { return node.op == "avg_pool" || node.op == "global_avg_pool"; }

bool keeps_grid(const Node& node) {
  return node.op == "max_pool" || node.op == "flatten" || node.op == "dropout" ||
         node.op == "concat" || is_average(node);
}

}  // namespace bitloom::quant
