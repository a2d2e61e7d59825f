// The pass that lets the forward pass run on codes; its text is in quant/passes.h.
#include <algorithm>
#include <map>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "bitloom/quant/passes.h"
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
      if (is_fake_quant(node) && !rounds_again(node)) roots_.insert(node.name);
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

}  // namespace

Graph use_integer_forward(const Graph& graph) {
  const CodeEdges codes(graph);
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
    if (is_fake_quant(node) && carries) {
      copy.set("output", "codes");
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
