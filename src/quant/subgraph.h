// Parts of a graph that the post-training steps run on their own.
#pragma once

#include <string>

#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::quant {

/// conv2d or linear.
bool is_product(const layers::Node& node);

/// The single reader of a node, or nullptr.
const layers::Node* only_reader(const layers::Graph& graph, const layers::Node& node);

/// The batch_norm that alone reads a product, or nullptr.
const layers::Node* batch_norm_behind(const layers::Graph& graph, const layers::Node& product);

/// `name` and everything it is computed from, in order; `name` is the output.
/// @pre the graph has such a node.
layers::Graph up_to(const layers::Graph& graph, const std::string& name);

/// The graph with every operation `from` called `to`.
layers::Graph renamed_ops(const layers::Graph& graph, const std::string& from,
                          const std::string& to);

/// Copies of all values under the same names and roles.
layers::ParameterStore clone(const layers::ParameterStore& store);

}  // namespace bitloom::quant
