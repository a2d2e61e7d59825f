// Adds the nodes of common blocks to a graph and keeps count of the shape that flows through it.
// Goes to: the network builders of this folder.
#pragma once

#include <string>
#include <vector>

#include "bitloom/layers/graph.h"
#include "bitloom/models/networks.h"

namespace bitloom::models {

/// Square window of a pooling; `count_pad`: an average counts its padding as pixels of 0.
struct PoolOptions {
  std::int64_t kernel = 2;
  std::int64_t stride = 2;
  std::int64_t pad = 0;
  bool count_pad = false;
};

/// Window of a convolution, square unless its width and the padding left and right are given (0,
/// -1: the same as the others), its groups, and whether it has a bias.
struct ConvOptions {
  std::int64_t kernel = 3;
  std::int64_t kernel_w = 0;
  std::int64_t stride = 1;
  std::int64_t pad = 0;
  std::int64_t pad_w = -1;
  std::int64_t groups = 1;
  bool bias = false;
};

/// Images below 64 pixels a side: networks made for 224 then leave out the reductions of their
/// stem, as is customary for CIFAR.
bool is_small(const NetworkShape& shape);

/// Each function adds one node after `at()` (or after the node named) and moves there.
class GraphBuilder {
 public:
  /// Adds "input". @throws ConfigError if a dimension is below 1.
  explicit GraphBuilder(const NetworkShape& shape);

  /// Adds "<name>.weight" too.
  void conv2d(const std::string& name, std::int64_t channels, const ConvOptions& options);
  /// `epsilon`: where it is not the layer's default, 1e-5.
  void batch_norm(const std::string& name, const std::string& epsilon = "");
  void relu(const std::string& name) { unary(name, "relu"); }
  void relu6(const std::string& name) { unary(name, "relu6"); }
  void hardtanh(const std::string& name) { unary(name, "hardtanh"); }
  void rprelu(const std::string& name) { unary(name, "rprelu"); }
  void dropout(const std::string& name, const std::string& ratio);
  void max_pool(const std::string& name, const PoolOptions& options);
  void avg_pool(const std::string& name, const PoolOptions& options);
  void global_avg_pool(const std::string& name);
  void flatten(const std::string& name);
  /// Adds "<name>.weight" too.
  void linear(const std::string& name, std::int64_t outputs, bool bias = true);
  /// add(at(), shortcut).
  void add(const std::string& name, const std::string& shortcut);

  /// "<name>.conv", "<name>.bn".
  void conv_bn(const std::string& name, std::int64_t channels, const ConvOptions& options);
  /// "<name>.conv", "<name>.bn", "<name>.relu".
  void conv_bn_relu(const std::string& name, std::int64_t channels, const ConvOptions& options);

  /// Where the next node reads.
  struct Position {
    std::string node;
    std::int64_t channels = 0;
    std::int64_t height = 0;
    std::int64_t width = 0;
  };
  const Position& at() const { return at_; }
  void move_to(Position position) { at_ = std::move(position); }
  /// concat(first, at()). @pre both have one height and width.
  void concat(const std::string& name, const Position& first);
  /// Of all of them, in their order; at() counts only where it is among them.
  void concat(const std::string& name, const std::vector<Position>& inputs);

  layers::Graph take() { return std::move(graph_); }

 private:
  void unary(const std::string& name, const std::string& op);
  void pool(const std::string& name, const std::string& op, const PoolOptions& options);
  /// Moves to what a window of that size leaves of the map.
  void slide(const std::string& name, const ConvOptions& window);

  layers::Graph graph_;
  Position at_;
};

}  // namespace bitloom::models
