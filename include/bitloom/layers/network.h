// A graph made runnable: layers constructed, shapes inferred, memory planned once. A step
// allocates nothing of ours (oneDNN's execute makes small objects of its own).
// Comes from: layers/graph.h. Goes to: train.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>

#include "bitloom/layers/layer.h"

namespace bitloom::layers {

struct NetworkOptions {
  std::int64_t batch = 1;
  bool training = true;           ///< plan memory for backward; false frees activations as it goes
  bool keep_all_tensors = false;  ///< every edge keeps its own memory (for SQNR)
  kernels::Precision precision = kernels::Precision::kF32;  ///< of products of reals
};

/// Gets a node's name and value, which lies there until a later node takes its memory.
using Watch = std::function<void(const std::string& node, ConstTensorView value)>;

/// Runs a graph on parameters that it declares in `store` and shares with other networks.
class Network {
 public:
  /// @throws ConfigError (unknown op or attribute, with the known ones), ShapeError (with node
  /// name).
  Network(const Graph& graph, const LayerRegistry& registry, ParameterStore& store,
          const NetworkOptions& options);
  ~Network();
  Network(Network&&) noexcept;
  Network& operator=(Network&&) noexcept;

  /// images: f32 [batch, C, H, W]; read where they lie, so they must stay until backward returns.
  /// Returns the output's view, valid until the next call. @throws ShapeError for other images.
  /// A clock gets the laps of each node, by its index in graph().nodes().
  ConstTensorView forward(ConstTensorView images, Phase phase, LapClock* clock = nullptr);
  /// The same, showing the value of every node but parameters as soon as it is there.
  ConstTensorView forward(ConstTensorView images, Phase phase, const Watch& watch);
  /// After forward(kTrain): gradients of every trainable parameter that the graph reaches.
  void backward(ConstTensorView output_gradient, LapClock* clock = nullptr);

  /// @throws ConfigError for an unknown node; so do tensor() and layer().
  const Edge& edge(const std::string& node) const;
  /// Content of an edge after forward. @throws ConfigError unless keep_all_tensors is on or the
  /// node is a parameter.
  ConstTensorView tensor(const std::string& node) const;
  /// The layer of a node; for tests and for observers that passes put in.
  Layer& layer(const std::string& node);
  const Graph& graph() const;
  /// Activations, gradients between layers and scratch: one block, planned when made.
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Mean softmax cross-entropy and its gradient, in one pass.
///   loss = -1/N sum_n sum_c target[n,c] log softmax(logits[n])[c];  gradient = (softmax -
///   target)/N target[n] = (1 - label_smoothing) * onehot(label[n]) + label_smoothing / classes
/// Source of the smoothing: Szegedy et al., arXiv:1512.00567, section 7.
/// Row sums in float, the mean over rows in double, in row order: the same whatever the threads.
/// Shapes: logits, gradient f32 [N, classes]; labels [N].
/// @throws ShapeError if shapes differ or a label lies outside 0 .. classes-1.
double softmax_cross_entropy(ConstTensorView logits, std::span<const std::int32_t> labels,
                             TensorView gradient, float label_smoothing = 0.0F);

}  // namespace bitloom::layers
