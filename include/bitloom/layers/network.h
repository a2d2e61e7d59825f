// A graph made runnable: layers constructed, shapes inferred, memory planned once. A step
// allocates nothing of ours (oneDNN's execute makes small objects of its own).
// Comes from: layers/graph.h. Goes to: train.
#pragma once

#include <memory>
#include <string>

#include "bitloom/layers/layer.h"

namespace bitloom::layers {

struct NetworkOptions {
  std::int64_t batch = 1;
  bool training = true;  ///< plan memory for backward; false frees activations as it goes
  bool keep_all_tensors = false;  ///< every edge keeps its own memory (for SQNR, calibration)
};

/// Runs a graph on parameters that it declares in `store` and shares with other networks.
class Network {
 public:
  /// @throws ConfigError (unknown op or attribute, with the known ones), ShapeError (with node name).
  Network(const Graph& graph, const LayerRegistry& registry, ParameterStore& store,
          const NetworkOptions& options);
  ~Network();
  Network(Network&&) noexcept;
  Network& operator=(Network&&) noexcept;

  /// images: f32 [batch, C, H, W]. Returns the output's view, valid until the next call.
  ConstTensorView forward(ConstTensorView images, Phase phase);
  /// After forward(kTrain): gradients of every trainable parameter that the graph reaches.
  void backward(ConstTensorView output_gradient);

  const Edge& edge(const std::string& node) const;
  /// Content of an edge after forward; needs keep_all_tensors (parameters: always).
  ConstTensorView tensor(const std::string& node) const;
  /// The layer of a node; for tests and for observers that passes put in.
  Layer& layer(const std::string& node);
  const Graph& graph() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

/// Mean softmax cross-entropy and its gradient, in one pass.
///   loss = -1/N sum_n log softmax(logits[n])[label[n]];  gradient = (softmax - onehot) / N
/// Row sums in float, the mean over rows in double, in row order: the same whatever the threads.
/// Shapes: logits, gradient [N, classes]; labels [N].
double softmax_cross_entropy(ConstTensorView logits, std::span<const std::int32_t> labels,
                             TensorView gradient);

}  // namespace bitloom::layers
