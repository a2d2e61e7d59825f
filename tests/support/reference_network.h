// Runs a graph of float layers by reference_ops.h, forward and backward: slow, in any floating
// type.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/layers/graph.h"
#include "support/reference_ops.h"

namespace bitloom::reference {

/// Values by node name; a layer's own parameters under "<node>.<word>".
template <typename T>
using Arrays = std::map<std::string, Array<T>>;

template <typename T>
class ReferenceNetwork {
 public:
  /// `given` holds images, parameters and the layers' own parameters.
  ReferenceNetwork(const layers::Graph& graph, Arrays<T> given)
      : graph_(graph), values_(std::move(given)) {}

  Array<T>& given(const std::string& name) { return values_.at(name); }
  const Array<T>& value(const std::string& name) const { return values_.at(name); }

  /// Batch norm by the batch's statistics.
  const Array<T>& forward() {
    for (const layers::Node& node : graph_.nodes()) run(node);
    return values_.at(graph_.output().name);
  }

  /// Gradients of everything, by name. @pre forward() ran.
  Arrays<T> backward(const Array<T>& output_gradient) {
    gradients_.clear();
    for (const auto& [name, value] : values_) gradients_.emplace(name, Array<T>(value.shape));
    gradients_.at(graph_.output().name) = output_gradient;
    for (std::size_t i = graph_.nodes().size(); i-- > 0;) push_back(graph_.nodes()[i]);
    return std::move(gradients_);
  }

 private:
  const Array<T>& in(const layers::Node& node, std::size_t k) const {
    return values_.at(node.inputs[k]);
  }

  integer::Window window(const layers::Node& node) const {
    const bool is_pool = node.op == "max_pool";
    const std::int64_t kernel = node.integer("kernel", 1);
    return {.kernel_h = is_pool ? kernel : in(node, 1).shape.h(),
            .kernel_w = is_pool ? kernel : in(node, 1).shape.w(),
            .stride = node.integer("stride", is_pool ? kernel : 1),
            .pad = node.integer("pad", 0),
            .groups = node.integer("groups", 1)};
  }

  T epsilon(const layers::Node& node) const { return static_cast<T>(node.real("epsilon", 1e-5)); }

  void run(const layers::Node& node) {
    if (node.op == "input" || node.op == "parameter") return;
    values_[node.name] = result(node);
  }

  Array<T> result(const layers::Node& node) const {
    const Array<T>& x = in(node, 0);
    const bool has_bias = node.integer("bias", 0) == 1;
    const Array<T>* bias = has_bias ? &values_.at(node.name + ".bias") : nullptr;
    if (node.op == "conv2d" || node.op == "linear")
      return conv2d(x, in(node, 1), bias, window(node));
    if (node.op == "batch_norm") {
      return batch_norm(x, values_.at(node.name + ".gamma"), values_.at(node.name + ".beta"),
                        statistics(x), epsilon(node));
    }
    if (node.op == "max_pool") return max_pool(x, window(node)).y;
    if (node.op == "global_avg_pool") return global_avg_pool(x);
    Array<T> y = x;
    if (node.op == "relu") {
      for (T& value : y.values) value = value > T{0} ? value : T{0};
    } else if (node.op == "add") {
      for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] += in(node, 1).values[i];
    } else if (node.op == "flatten") {
      y.shape = Shape{x.shape.n(), x.shape.elements() / x.shape.n()};
    } else {
      throw ConfigError("no reference for " + node.op);
    }
    return y;
  }

  void push_back(const layers::Node& node) {
    if (node.inputs.empty()) return;
    const Array<T>& x = in(node, 0);
    const Array<T> dy = gradients_.at(node.name);
    Array<T>& dx = gradients_.at(node.inputs[0]);
    if (node.op == "conv2d" || node.op == "linear") {
      const bool has_bias = node.integer("bias", 0) == 1;
      conv2d_backward(x, in(node, 1), dy, window(node), &dx, &gradients_.at(node.inputs[1]),
                      has_bias ? &gradients_.at(node.name + ".bias") : nullptr);
    } else if (node.op == "batch_norm") {
      batch_norm_backward(x, values_.at(node.name + ".gamma"), dy, epsilon(node), dx,
                          gradients_.at(node.name + ".gamma"), gradients_.at(node.name + ".beta"));
    } else if (node.op == "max_pool") {
      const MaxPooled<T> pooled = max_pool(x, window(node));
      for (std::size_t i = 0; i < dy.values.size(); ++i) dx[pooled.from[i]] += dy.values[i];
    } else if (node.op == "global_avg_pool") {
      const std::int64_t pixels = x.shape.h() * x.shape.w();
      const std::int64_t channels = x.shape.c();
      for (std::int64_t i = 0; i < x.shape.elements(); ++i) {
        dx[i] += dy[i / channels / pixels * channels + i % channels] / static_cast<T>(pixels);
      }
    } else if (node.op == "relu") {
      for (std::size_t i = 0; i < dy.values.size(); ++i) {
        if (x.values[i] > T{0}) dx.values[i] += dy.values[i];
      }
    } else if (node.op == "add") {
      for (const std::string& input : node.inputs) {
        for (std::size_t i = 0; i < dy.values.size(); ++i) {
          gradients_.at(input).values[i] += dy.values[i];
        }
      }
    } else {  // flatten
      for (std::size_t i = 0; i < dy.values.size(); ++i) dx.values[i] += dy.values[i];
    }
  }

  const layers::Graph& graph_;
  Arrays<T> values_;
  Arrays<T> gradients_;
};

}  // namespace bitloom::reference
