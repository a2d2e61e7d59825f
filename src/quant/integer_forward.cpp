// The pass that lets the forward pass run on codes; its text is in quant/passes.h.
#include <algorithm>
#include <map>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/ttq.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// Which nodes can carry codes: all candidates, minus those with a reader that needs reals.
class CodeEdges {
 public:
  explicit CodeEdges(const Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes()) {
      if (is_fake_quant(node) && !rounds_again(node) && !has_two_scales(node)) {
        roots_.insert(node.name);
      }
    }
    spread();
    while (drop_one()) spread();
  }

  bool carries(const std::string& name) const { return grids_.contains(name); }

  // The fake_quant node behind an average of codes is a no-op: codes were rounded there.
  bool rounds_again(const Node& node) const {
    return is_fake_quant(node) && node.has("share") && is_average(*graph_.find(node.inputs[0]));
  }

 private:
  void spread() {
    grids_.clear();
    for (const Node& node : graph_.nodes()) {
      if (roots_.contains(node.name)) {
        grids_[node.name] = scale_name(node);
      } else if ((keeps_grid(node) && has_one_grid(node)) ||
                 (rounds_again(node) && carries(node.inputs[0]))) {
        // dropout widens the grid while it trains.
        grids_[node.name] = node.op == "dropout" ? node.name : grids_.at(node.inputs[0]);
      }
    }
  }

  // True where every input is codes of one grid.
  bool has_one_grid(const Node& node) const {
    return std::all_of(node.inputs.begin(), node.inputs.end(), [&](const std::string& input) {
      return carries(input) && carries(node.inputs[0]) &&
             grids_.at(input) == grids_.at(node.inputs[0]);
    });
  }

  bool understands(const Node& reader, const std::string& value) const {
    if (is_product(reader)) {
      return carries(reader.inputs[0]) && carries(reader.inputs[1]);
    }
    if (reader.op == "add") return reader.inputs[1] == value && !carries(reader.inputs[0]);
    if (is_average(reader)) {
      const Node* next = only_reader(graph_, reader);
      return next != nullptr && rounds_again(*next);
    }
    return (keeps_grid(reader) && has_one_grid(reader)) || rounds_again(reader);
  }

  // Removes the root of the first value that a reader cannot take as codes.
  bool drop_one() {
    for (const Node& node : graph_.nodes()) {
      if (!carries(node.name)) continue;
      const std::vector<std::string> readers = graph_.readers(node.name);
      const bool fits = !readers.empty() &&
                        std::all_of(readers.begin(), readers.end(), [&](const std::string& name) {
                          return understands(*graph_.find(name), node.name);
                        });
      if (fits) continue;
      const Node* root = &node;
      while (!roots_.contains(root->name)) root = graph_.find(root->inputs[0]);
      roots_.erase(root->name);
      return true;
    }
    return false;
  }

  const Graph& graph_;
  std::set<std::string> roots_;
  std::map<std::string, std::string> grids_;  // value that carries codes > its scale
};

// Chains that compute as the exported layer does, by the nodes that change.
class ExportedChains {
 public:
  ExportedChains(const Graph& graph, const CodeEdges& codes) {
    for (const Node& node : graph.nodes()) {
      if (is_batch_norm(node) && node.integer("frozen", 0) == 0) return;
    }
    for (const Chain& chain : chains_of(graph)) {
      if (!fits(chain, codes)) continue;
      for (const Node* node : chain.nodes) unit_of_[node->name] = chain;
    }
  }

  /// The chain that holds a node, or nullptr.
  const Chain* find(const Node& node) const {
    const auto it = unit_of_.find(node.name);
    return it == unit_of_.end() ? nullptr : &it->second;
  }

 private:
  static bool fits(const Chain& chain, const CodeEdges& codes) {
    if (!is_product(*chain.head) || chain.fake_quant == nullptr) return false;
    const Node& quantizer = *chain.fake_quant;
    const auto carries = [&](const Node& node, std::size_t input) {
      return codes.carries(node.inputs[input]);
    };
    const bool has_dropout = std::any_of(chain.nodes.begin(), chain.nodes.end(),
                                         [](const Node* node) { return node->op == "dropout"; });
    return !has_dropout && codes.carries(quantizer.name) && !quantizer.has("share") &&
           known_before(quantizer) && carries(*chain.head, 0) && carries(*chain.head, 1) &&
           (chain.add == nullptr || carries(*chain.add, 1)) && costs_nothing(chain);
  }

  // True where the scale of a step does not depend on what the step computes.
  static bool known_before(const Node& quantizer) {
    if (format_of(quantizer).grid != integer::Grid::kAffine) return false;
    const std::string word = quantizer.word("quantizer", "static");
    return quantizer.integer("frozen", 0) != 0 || word == "static" ||
           (word == "lsq" && quantizer.integer("power_of_two", 0) == 0);
  }

  // A ReLU in front of an unsigned grid from 0 up clips nothing that the grid does not; its
  // gradient and the scale's are the same without it.
  static bool costs_nothing(const Chain& chain) {
    if (chain.clip == nullptr) return true;
    const integer::AffineFormat format = format_of(*chain.fake_quant);
    return chain.clip->op == "relu" && format.range.qmin == 0 && format.zero_point == 0;
  }

  std::map<std::string, Chain> unit_of_;  // each node of a chain > the chain
};

// Rewrites a node of an exported chain; false if it goes away.
bool export_node(const Chain& chain, const Node& node, Node& copy) {
  if (&node == chain.batch_norm || &node == chain.clip) return false;
  if (&node == chain.fake_quant) {
    copy.set("input", "codes");
    return true;
  }
  copy.op = cat("exported_", node.op);
  copy.set("unit", chain.fake_quant->name);
  if (&node == chain.add) return true;
  if (chain.fake_quant->has("zero_point")) {
    copy.set("zero_point", chain.fake_quant->word("zero_point", "0"));
  }
  if (chain.batch_norm != nullptr) {
    copy.set("batch_norm", chain.batch_norm->name);
    if (chain.batch_norm->has("epsilon")) {
      copy.set("epsilon", chain.batch_norm->word("epsilon", ""));
    }
  }
  return true;
}

}  // namespace

Graph use_integer_forward(const Graph& graph) {
  const CodeEdges codes(graph);
  const ExportedChains exported(graph, codes);
  Graph out;
  std::map<std::string, std::string> renamed;
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    for (std::string& input : copy.inputs) {
      if (const auto it = renamed.find(input); it != renamed.end()) input = it->second;
    }
    const bool carries = codes.carries(node.name);
    if (carries && codes.rounds_again(node)) {
      renamed[node.name] = copy.inputs[0];
      continue;
    }
    const Chain* chain = exported.find(node);
    if (chain != nullptr && !export_node(*chain, node, copy)) {
      renamed[node.name] = copy.inputs[0];
      continue;
    }
    if (is_fake_quant(node) && carries) {
      copy.set("output", "codes");
    } else if (chain != nullptr) {
      // rewritten already
    } else if (is_product(node) && codes.carries(node.inputs[0]) && codes.carries(node.inputs[1])) {
      copy.op = cat("quantized_", node.op);
    } else if (node.op == "add" && codes.carries(node.inputs[1])) {
      copy.op = "quantized_add";
    }
    out.add(std::move(copy));
  }
  return out;
}

}  // namespace bitloom::quant
