// Widths of single layers, as `quant.layer_bits` writes them and `bitloom allocate` finds them.
// Goes to: quant/options.h, quant/passes.h (insert_fake_quant), quant/allocate.h.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "bitloom/layers/graph.h"

namespace bitloom::quant {

/// Widths of one layer; 0 leaves a width as the other options have it.
struct LayerBits {
  int weight = 0;      ///< of its weights, 2 .. 8
  int activation = 0;  ///< of the codes that it emits, 2 .. 8
  bool operator==(const LayerBits&) const = default;
};

/// By name of layer: a conv2d or linear (its activations are those of its whole chain: batch norm,
/// residual and activation function included), an add that stands alone, or the network's input.
using LayerBitsTable = std::map<std::string, LayerBits>;

/// "conv1=8/8,conv2=4/5,fc=4/-,input=-/8": weights before the stroke, activations behind it, '-'
/// for what is left alone; "" is the empty table. nullopt for any other text.
std::optional<LayerBitsTable> parse_layer_bits(std::string_view text);
std::string to_text(const LayerBitsTable& table);

/// What a fake_quant node's width belongs to. Nodes on a shared grid have its owner's.
struct NodeOwner {
  std::string layer;  ///< key of a LayerBitsTable
  bool is_weight = false;
};
/// By name of fake_quant node, for every one of a graph of insert_fake_quant().
std::map<std::string, NodeOwner> node_owners(const layers::Graph& graph);

/// Widths of all nodes of a graph of insert_fake_quant().
LayerBitsTable layer_bits_of(const layers::Graph& graph);

}  // namespace bitloom::quant
