// Two executions of a network side by side: the first layer and channel where they part, and by how
// much.
// Comes from: backends/session.h, layers/network.h. Goes to: diff_command.cpp.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "bitloom/core/tensor.h"

namespace bitloom::tools {

/// What one layer gave in an execution, as reals.
struct LayerValues {
  std::string layer;
  std::string op;
  Tensor values;      ///< f32 [N, C, H, W] or [N, C]
  double step = 0.0;  ///< real distance of neighbouring codes; 0 for reals
};

/// An execution: everything that it computes on a batch, in the order of its layers.
struct Execution {
  std::string label;  ///< "w8a8.h5@onednn"
  std::vector<LayerValues> layers;
};

/// One layer that both executions have.
struct LayerDifference {
  std::string layer;
  std::string op;
  std::int64_t elements = 0;
  std::int64_t differing = 0;       ///< elements beyond the tolerance
  double largest = 0.0;             ///< |a - b|, in reals
  double largest_steps = 0.0;       ///< the same in steps of the coarser grid; NaN for two reals
  double largest_magnitude = 0.0;   ///< max |a|
  double sqnr_db = 0.0;             ///< a is the signal; infinite where a equals b
  std::int64_t first_channel = -1;  ///< lowest channel that holds a differing element; -1: none
  std::int64_t worst_channel = -1;  ///< channel of the largest difference; -1: none
  double worst_a = 0.0, worst_b = 0.0;  ///< the values there
};

/// Compares layers of the same name, in a's order. An element differs if |a - b| > tolerance *
/// max |a| of its layer; tolerance 0: if it is not equal.
/// @throws ShapeError if two layers of one name differ in shape, ConfigError if no name is in both.
std::vector<LayerDifference> compare_executions(const Execution& a, const Execution& b,
                                                double tolerance);

/// Index of the first layer that differs; -1: none.
std::int64_t first_divergence(const std::vector<LayerDifference>& layers);

}  // namespace bitloom::tools
