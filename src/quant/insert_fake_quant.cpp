// The pass that quantizes a float graph; its text is in quant/passes.h.
#include <cstddef>
#include <map>
#include <optional>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "bitloom/quant/passes.h"
#include "insert_signs.h"
#include "quantizer_nodes.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// The node whose grid a value has: pools, flatten, dropout and concat (by its first input) have
// that of what they read.
const Node* grid_source(const Graph& graph, const Node* node) {
  while (keeps_grid(*node)) node = graph.find(node->inputs[0]);
  return node;
}

// Grids that are one because a concat joins their values; each is named by its earliest source.
class GridGroups {
 public:
  explicit GridGroups(const Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes()) {
      if (node.op != "concat") continue;
      for (const std::string& input : node.inputs) join(node.inputs[0], input);
    }
  }

  // Earliest source of the grid that the value `name` has.
  std::string owner(const std::string& name) const {
    std::string source = grid_source(graph_, graph_.find(name))->name;
    for (auto it = joined_to_.find(source); it != joined_to_.end(); it = joined_to_.find(source)) {
      source = it->second;
    }
    return source;
  }

 private:
  void join(const std::string& a, const std::string& b) {
    const std::string first = owner(a);
    const std::string second = owner(b);
    if (first == second) return;
    const bool in_order = position(first) < position(second);
    joined_to_[in_order ? second : first] = in_order ? first : second;
  }

  std::ptrdiff_t position(const std::string& name) const {
    return graph_.find(name) - graph_.nodes().data();
  }

  const Graph& graph_;
  std::map<std::string, std::string> joined_to_;
};

class Inserter {
 public:
  Inserter(const Graph& graph, const QuantOptions& options, const QuantizerNodes& nodes,
           bool input_is_signed)
      : graph_(graph),
        options_(options),
        nodes_(nodes),
        input_is_signed_(input_is_signed),
        groups_(graph) {
    choose_ends();
    choose_activations();
    choose_own_widths();
  }

  Graph run() {
    for (const Node& node : graph_.nodes()) {
      Node copy = node;
      for (std::string& input : copy.inputs) {
        if (const auto it = renamed_.find(input); it != renamed_.end()) input = it->second;
      }
      out_.add(std::move(copy));
      quantize_output(node);
    }
    return std::move(out_);
  }

 private:
  void choose_ends() {
    const Node* first = nullptr;
    const Node* last = nullptr;
    for (const Node& node : graph_.nodes()) {
      if (!is_product(node)) continue;
      if (first == nullptr) first = &node;
      last = &node;
    }
    if (first == nullptr) {
      throw ConfigError("the graph has no conv2d or linear node; nothing to quantize");
    }
    if (options_.first_last_bits == 0) return;
    wide_ = {first->inputs[1], last->inputs[1], groups_.owner(first->inputs[0]),
             groups_.owner(last->inputs[0])};
  }

  // The network's input and the end of every chain, where another layer computes with its values.
  void choose_activations() {
    const auto choose = [&](const Node& node, bool carries_sign) {
      bool& group_carries = carries_sign_[groups_.owner(node.name)];
      group_carries = group_carries || carries_sign;
      if (feeds_a_layer(node)) activations_.insert(node.name);
    };
    for (const Node& node : graph_.nodes()) {
      if (node.op == "input") choose(node, input_is_signed_);
    }
    for (const Chain& chain : chains_of(graph_)) {
      choose(*chain.end, chain.bounds().low < 0.0F);
      end_of_layer_[chain.head->name] = chain.end->name;
    }
  }

  // options.layer_bits, by the names that bits_of() is asked for.
  void choose_own_widths() {
    for (const auto& [layer, bits] : options_.layer_bits) {
      const Node* node = graph_.find(layer);
      const bool chained = node != nullptr && end_of_layer_.contains(layer);
      if (!chained && (node == nullptr || node->op != "input")) {
        refuse_width(layer, "the name of a conv2d, linear, lone add or the input", "no such layer");
      }
      if (bits.weight != 0) {
        if (!is_product(*node)) refuse_width(layer, "'-' before the stroke", "no weights");
        own_bits_[node->inputs[1]] = bits.weight;
      }
      if (bits.activation == 0) continue;
      const std::string end = chained ? end_of_layer_.at(layer) : layer;
      if (!has_activation_grids(options_) || !activations_.contains(end)) {
        refuse_width(layer, "'-' behind the stroke", "an output that stays real");
      }
      if (groups_.owner(end) != end) {
        refuse_width(layer, "'-' behind the stroke",
                     cat("the grid of ", groups_.owner(end), ", with which a concat joins it"));
      }
      own_bits_[end] = bits.activation;
    }
  }

  [[noreturn]] static void refuse_width(const std::string& layer, std::string expected,
                                        std::string found) {
    throw ConfigError(ErrorText{cat("quant.layer_bits: ", layer), std::move(expected),
                                std::move(found), "`bitloom allocate` writes a table that fits"});
  }

  // False for the logits, and for values that reach them through pools alone: they stay real.
  bool feeds_a_layer(const Node& node) const {
    for (const std::string& name : graph_.readers(node.name)) {
      const Node& reader = *graph_.find(name);
      if (!keeps_grid(reader) || feeds_a_layer(reader)) return true;
    }
    return false;
  }

  // Of a weight or the owner of a grid, where it is not that of the rest.
  std::optional<int> own_width(const std::string& name) const {
    if (const auto own = own_bits_.find(name); own != own_bits_.end()) return own->second;
    if (wide_.contains(name)) return options_.first_last_bits;
    return std::nullopt;
  }

  void quantize_output(const Node& node) {
    if (node.op == "parameter") {
      if (feeds_weight(node)) add_weight(node);
      return;
    }
    if (!has_activation_grids(options_)) return;
    if (is_average(node) && feeds_a_layer(node)) {
      add_shared(node, false);
    } else if (activations_.contains(node.name)) {
      const std::string owner = groups_.owner(node.name);
      if (owner == node.name) {
        add_activation(node, carries_sign_.at(owner));
      } else {
        add_shared(node, true);
      }
    }
  }

  // A node on the grid of the value's owner; nothing where the owner stays real. `joined`: values
  // of its own that the grid must hold as well, other than averages of what it holds.
  void add_shared(const Node& node, bool joined) {
    const auto shared = renamed_.find(groups_.owner(node.name));
    if (shared == renamed_.end()) return;
    Node quantizer = *out_.find(shared->second);
    quantizer.name = cat(node.name, ".q");
    quantizer.inputs = {node.name};
    quantizer.set("share", shared->second);
    if (joined) quantizer.set("joined", "1");
    append(node.name, std::move(quantizer));
  }

  bool feeds_weight(const Node& node) const {
    for (const std::string& reader : graph_.readers(node.name)) {
      const Node* product = graph_.find(reader);
      if (is_product(*product) && product->inputs[1] == node.name) return true;
    }
    return false;
  }

  void add_weight(const Node& node) {
    const std::optional<int> own = own_width(node.name);
    if (own == kRealBits) return;
    append(node.name, nodes_.weight(node, own));
  }

  void add_activation(const Node& node, bool carries_sign) {
    const int bits = own_width(node.name).value_or(options_.activation_bits);  // owner of its grid
    append(node.name, nodes_.activation(node, bits, carries_sign));
  }

  void append(const std::string& source, Node node) {
    renamed_[source] = node.name;
    out_.add(std::move(node));
  }

  const Graph& graph_;
  const QuantOptions& options_;
  const QuantizerNodes& nodes_;
  bool input_is_signed_;
  GridGroups groups_;
  std::set<std::string> wide_;           // weights, and owners of grids, of the end layers
  std::map<std::string, int> own_bits_;  // the same kinds of names > options.layer_bits
  std::map<std::string, std::string> end_of_layer_;  // head of a chain > its end
  std::set<std::string> activations_;                // float nodes whose values become codes
  std::map<std::string, bool> carries_sign_;    // owner of a grid > some of its values are negative
  std::map<std::string, std::string> renamed_;  // float node > its fake_quant node
  Graph out_;
};

}  // namespace

Graph insert_fake_quant(const Graph& graph, const QuantOptions& options,
                        const integer::DeviceProfile& profile, bool input_is_signed) {
  for (const Node& node : graph.nodes()) {
    if (is_fake_quant(node)) {
      throw ConfigError(ErrorText{node.name, "a float graph", "a fake_quant node",
                                  "start from the float checkpoint"});
    }
  }
  for (const ErrorText& error : contradictions(options)) throw ConfigError(error);
  const QuantizerNodes nodes(options, profile);
  Graph out = options.method == "qat" && options.activation_bits == 1
                  ? insert_signs(graph, options, nodes, input_is_signed)
                  : Inserter(graph, options, nodes, input_is_signed).run();
  return options.shift_batch_norm ? renamed_ops(out, "batch_norm", "shift_batch_norm") : out;
}

}  // namespace bitloom::quant
