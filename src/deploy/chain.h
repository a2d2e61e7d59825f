// Which nodes of a graph become one exported layer.
#pragma once

#include "bitloom/layers/graph.h"

namespace bitloom::deploy {

/// Nodes of conv2d|linear|add > batch_norm? > add? > relu? > fake_quant?; nullptr where absent.
/// Pointers are into the graph.
struct Chain {
  const layers::Node* head = nullptr;  ///< conv2d, linear, or an add that stands alone
  const layers::Node* batch_norm = nullptr;
  const layers::Node* add = nullptr;  ///< its second input is the residual
  const layers::Node* relu = nullptr;
  const layers::Node* fake_quant = nullptr;
  const layers::Node* end = nullptr;  ///< the last of them
};

/// The chain that starts at `head`.
Chain chain_from(const layers::Graph& graph, const layers::Node& head);

}  // namespace bitloom::deploy
