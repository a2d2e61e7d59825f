#include "bitloom/quant/layer_bits.h"

#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// "4" or "-"; nullopt for others.
std::optional<int> parse_width(std::string_view text) {
  if (text == "-") return 0;
  if (text.size() != 1 || text[0] < '2' || text[0] > '8') return std::nullopt;
  return text[0] - '0';
}

std::string width_text(int bits) { return bits == 0 ? "-" : std::to_string(bits); }

std::string_view trimmed(std::string_view text) {
  const std::size_t begin = text.find_first_not_of(" \t");
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(" \t") - begin + 1);
}

}  // namespace

std::optional<LayerBitsTable> parse_layer_bits(std::string_view text) {
  LayerBitsTable table;
  if (trimmed(text).empty()) return table;
  while (true) {
    const std::size_t comma = text.find(',');
    const std::string_view entry = trimmed(text.substr(0, comma));
    const std::size_t equals = entry.find('=');
    const std::size_t stroke = entry.find('/');
    if (equals == 0 || equals == std::string_view::npos || stroke == std::string_view::npos ||
        stroke < equals) {
      return std::nullopt;
    }
    const auto weight = parse_width(trimmed(entry.substr(equals + 1, stroke - equals - 1)));
    const auto activation = parse_width(trimmed(entry.substr(stroke + 1)));
    if (!weight || !activation) return std::nullopt;
    const std::string layer(trimmed(entry.substr(0, equals)));
    if (!table.emplace(layer, LayerBits{*weight, *activation}).second) return std::nullopt;
    if (comma == std::string_view::npos) return table;
    text.remove_prefix(comma + 1);
  }
}

std::string to_text(const LayerBitsTable& table) {
  std::string text;
  for (const auto& [layer, bits] : table) {
    text += cat(text.empty() ? "" : ",", layer, "=", width_text(bits.weight), "/",
                width_text(bits.activation));
  }
  return text;
}

std::map<std::string, NodeOwner> node_owners(const Graph& graph) {
  std::map<std::string, NodeOwner> owners;
  for (const Chain& chain : chains_of(graph)) {
    if (chain.fake_quant != nullptr) owners[chain.fake_quant->name] = {chain.head->name, false};
  }
  for (const Node& node : graph.nodes()) {
    if (!is_fake_quant(node)) continue;
    if (node.has("share")) {
      owners[node.name] = owners.at(node.word("share", ""));
    } else if (quantizes_weight(node)) {
      owners[node.name] = {graph.readers(node.name).front(), true};
    } else if (graph.find(node.inputs[0])->op == "input") {
      owners[node.name] = {node.inputs[0], false};
    }
  }
  return owners;
}

LayerBitsTable layer_bits_of(const Graph& graph) {
  LayerBitsTable table;
  const auto owners = node_owners(graph);
  for (const Node& node : graph.nodes()) {
    if (!is_fake_quant(node) || node.has("share")) continue;
    const NodeOwner& owner = owners.at(node.name);
    const int bits = static_cast<int>(node.integer("bits", 8));
    LayerBits& entry = table[owner.layer];
    (owner.is_weight ? entry.weight : entry.activation) = bits;
  }
  return table;
}

}  // namespace bitloom::quant
