// Which nodes of a graph become one layer: the one rule for where quantizers go and for what the
// exported model fuses.
// Goes to: quant/passes.h (insert_fake_quant), deploy/lower.h.
#pragma once

#include <vector>

#include "bitloom/integer/affine.h"
#include "bitloom/layers/graph.h"

namespace bitloom::quant {

/// Nodes of
///   conv2d|linear > batch_norm? > add? > relu|relu6|hardtanh? > fake_quant?
///   add > relu|relu6|hardtanh? > fake_quant?        where no chain of the first kind holds the add
/// nullptr where absent; each but the last is read by the next alone. The chain enters an add as
/// its first input; the second is the residual. dropout between two of them belongs to the chain
/// too: outside of training it is the identity. Pointers are into the graph.
struct Chain {
  const layers::Node* head = nullptr;  ///< conv2d, linear, or an add that stands alone
  const layers::Node* batch_norm = nullptr;
  const layers::Node* add = nullptr;
  const layers::Node* clip = nullptr;  ///< relu, relu6 or hardtanh
  const layers::Node* fake_quant = nullptr;
  const layers::Node* end = nullptr;       ///< the last of them
  std::vector<const layers::Node*> nodes;  ///< all of them in order, dropout included

  /// Bounds of the activation function; none without one.
  integer::Clip bounds() const;
};

/// All chains, in the order of their heads. No node is in two of them.
std::vector<Chain> chains_of(const layers::Graph& graph);

/// batch_norm or shift_batch_norm.
bool is_batch_norm(const layers::Node& node);

/// relu, relu6 or hardtanh.
bool is_clip(const layers::Node& node);

/// Bounds of relu(x), relu6(x), hardtanh(x, low=-1, high=1). @pre is_clip(node).
/// @throws ConfigError naming the node unless low < high.
integer::Clip clip_of(const layers::Node& node);

/// avg_pool or global_avg_pool.
bool is_average(const layers::Node& node);

/// max_pool, averages, flatten, dropout, concat: nodes whose values lie on the grid of what they
/// read.
bool keeps_grid(const layers::Node& node);

}  // namespace bitloom::quant
