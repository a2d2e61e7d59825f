// Where a network's activations, gradients and scratch lie: decided once, from what each layer
// says it reads.
// Comes from: layers/layer.h (LayerMemory). Goes to: network.cpp.
#pragma once

#include <cstddef>
#include <limits>
#include <span>
#include <vector>

#include "bitloom/layers/layer.h"

namespace bitloom::layers {

/// One node as the plan sees it.
struct PlanNode {
  std::vector<int> inputs;  ///< indices of earlier nodes
  std::size_t value_bytes = 0;
  std::size_t gradient_bytes = 0;
  bool gradient_in_terms = false;  ///< a second contribution lies beside the first
  LayerMemory memory;
  bool external_value = false;     ///< input, parameter: lies elsewhere
  bool external_gradient = false;  ///< parameter
  bool needs_gradient = false;
};

/// Bytes from the start of the block; kElsewhere where the network has no memory of its own.
struct NodePlacement {
  static constexpr std::size_t kElsewhere = std::numeric_limits<std::size_t>::max();

  int value_owner = 0;  ///< node whose memory the value shares; itself, mostly
  std::size_t value = kElsewhere;
  std::size_t gradient = kElsewhere;
  std::size_t saved = 0;
  std::size_t forward_scratch = 0;
  std::size_t backward_scratch = 0;
  bool runs_backward = false;
  /// Per input: where a second or later contribution to that input's gradient is written before it
  /// is added; kElsewhere where the contribution is the first and goes to the gradient itself.
  std::vector<std::size_t> summand;
  /// Where a gradient's second term lies, and per input whether this node writes that of the input.
  std::size_t second_gradient = kElsewhere;
  std::vector<bool> writes_second;
  bool adds = false;             ///< to input gradient 0, which holds other contributions
  bool passes_gradient = false;  ///< input gradient 1 lies in the output gradient's memory
};

struct MemoryPlan {
  std::vector<NodePlacement> nodes;
  std::size_t total = 0;
};

/// Time runs over forward steps 0 .. n-1 and backward steps n .. 2n-1 (node i at 2n-1-i). The last
/// node is the output; its gradient is the caller's and its value stays to the end.
/// `training` false leaves the backward steps out; `keep_all` lets every value stay to the end and
/// sums contributions apart from the layers.
///
/// A value shares its input's memory where the layer must (aliases_input) or may (forward_in_place)
/// and nobody reads the old content later. A gradient of several contributions is summed in the
/// order of backward steps, by the layers themselves where they can (backward_adds), or stays in
/// two terms for the layer that reads it (gradient_in_terms, of which others contribute none). The
/// second input of a layer with passes_gradient takes over the memory of its output gradient if it
/// is the first contribution; the first input then gets memory of its own. A carried node's value
/// lives from its carrier's forward step on and its gradient until its carrier's backward step; to
/// the carrier's gradient it contributes nothing.
MemoryPlan plan_memory(std::span<const PlanNode> nodes, bool training, bool keep_all);

}  // namespace bitloom::layers
