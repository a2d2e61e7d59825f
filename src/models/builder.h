// Adds the nodes of common blocks to a graph and keeps count of the shape that flows through it.
// Goes to: the network builders of this folder.
#pragma once

#include <string>

#include "bitloom/layers/graph.h"
#include "bitloom/models/networks.h"

namespace bitloom::models {

/// Window of a convolution or a pooling.
struct BlockWindow {
  std::int64_t kernel = 3;
  std::int64_t stride = 1;
  std::int64_t pad = 0;
};

/// Each function adds one node after `at()` (or after the node named) and moves there.
class GraphBuilder {
 public:
  /// Adds "input". @throws ConfigError if a dimension is below 1.
  explicit GraphBuilder(const NetworkShape& shape);

  /// Adds "<name>.weight" too.
  void conv2d(const std::string& name, std::int64_t channels, const BlockWindow& window);
  void batch_norm(const std::string& name) { unary(name, "batch_norm"); }
  void relu(const std::string& name) { unary(name, "relu"); }
  void max_pool(const std::string& name, const BlockWindow& window);
  void global_avg_pool(const std::string& name);
  void flatten(const std::string& name);
  /// Adds "<name>.weight" too; with bias.
  void linear(const std::string& name, std::int64_t outputs);
  /// add(at(), shortcut).
  void add(const std::string& name, const std::string& shortcut);

  /// Where the next node reads.
  struct Position {
    std::string node;
    std::int64_t channels = 0;
    std::int64_t height = 0;
    std::int64_t width = 0;
  };
  const Position& at() const { return at_; }
  void move_to(Position position) { at_ = std::move(position); }

  layers::Graph take() { return std::move(graph_); }

 private:
  void unary(const std::string& name, const std::string& op);
  void slide(const std::string& name, const BlockWindow& window);

  layers::Graph graph_;
  Position at_;
};

}  // namespace bitloom::models
