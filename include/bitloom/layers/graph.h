// The network as text: nodes in execution order, the one form stored in checkpoints and exported
// models, printed by `inspect --text` and accepted as `model.file`.
//
//   bitloom-graph 1
//   # comment
//   input        = input(shape=1x28x28)
//   conv1.weight = parameter(shape=32x1x5x5)
//   conv1        = conv2d(input, conv1.weight, pad=2)
//   bn1          = batch_norm(conv1)
//   relu1        = relu(bn1)
//
// One node a line: name = op(inputs..., attribute=value...). A node is defined before it is used;
// the last node is the output. Names: letters, digits, '_' and '.'.
// Comes from: models, model.file, archives. Goes to: layers/network.h, passes of src/quant, deploy.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "bitloom/core/shape.h"

namespace bitloom::layers {

/// One line of the graph.
struct Node {
  std::string name;
  std::string op;
  std::vector<std::string> inputs;
  std::vector<std::pair<std::string, std::string>> attributes;  ///< in the order written

  /// Value of an attribute, or the default. @throws ConfigError naming node and attribute if the
  /// text is not a number of the kind asked for.
  std::int64_t integer(std::string_view key, std::int64_t fallback) const;
  double real(std::string_view key, double fallback) const;
  std::string word(std::string_view key, std::string_view fallback) const;
  /// "32x1x5x5" -> [32, 1, 5, 5]; rank 3 (CxHxW) gets a leading 1. @throws ConfigError if absent.
  Shape shape(std::string_view key) const;
  bool has(std::string_view key) const;
  /// Sets or replaces.
  void set(std::string_view key, std::string value);
};

/// Nodes in execution order with unique names. Passes read one graph and return another.
class Graph {
 public:
  /// @throws FormatError with `source`, line, expected, found.
  static Graph parse(std::string_view text, const std::string& source);
  std::string to_text() const;

  const std::vector<Node>& nodes() const { return nodes_; }
  const Node& output() const { return nodes_.back(); }
  /// nullptr if absent.
  const Node* find(std::string_view name) const;
  Node* find(std::string_view name);
  /// Names of the nodes that read `name`, in order.
  std::vector<std::string> readers(std::string_view name) const;

  /// Appends. @throws ConfigError for a duplicate name or an input that is not defined yet.
  Node& add(Node node);

 private:
  std::vector<Node> nodes_;
};

/// "1x28x28" of [1, 1, 28, 28]; "32x1x5x5" of [32, 1, 5, 5]; "10x512" of [10, 512].
std::string shape_text(const Shape& shape, bool drop_batch);

}  // namespace bitloom::layers
