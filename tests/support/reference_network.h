// Runs a graph of float layers by reference_ops.h, forward and backward: slow, in any floating
// type.
#pragma once

#include <algorithm>
#include <limits>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/layers/window.h"
#include "support/reference_ops.h"

namespace bitloom::reference {

/// Values by node name; a layer's own parameters under "<node>.<word>".
template <typename T>
using Arrays = std::map<std::string, Array<T>>;

template <typename T>
class ReferenceNetwork {
 public:
  /// `given` holds images, parameters and the layers' own parameters; `seed` is the store's, for
  /// dropout, whose "<node>.step" stays as given.
  ReferenceNetwork(const layers::Graph& graph, Arrays<T> given, std::uint64_t seed)
      : graph_(expanded(graph)), values_(std::move(given)), seed_(seed) {}

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
  // fused nodes as the layers that they stand for.
  static layers::Graph expanded(const layers::Graph& graph) {
    layers::Graph out;
    for (const layers::Node& node : graph.nodes()) {
      if (node.op != "fused") {
        out.add(node);
        continue;
      }
      std::string value = node.inputs[0];
      if (node.has("norm")) {
        layers::Node norm{node.word("norm", ""), "batch_norm", {value}, {}};
        if (node.has("epsilon")) norm.set("epsilon", node.word("epsilon", ""));
        value = out.add(std::move(norm)).name;
      }
      const bool clips = node.has("low") || node.has("high");
      if (node.inputs.size() == 2) {
        const std::string name = clips ? node.name + ".sum" : node.name;
        value = out.add({name, "add", {value, node.inputs[1]}, {}}).name;
      }
      if (!clips) continue;
      layers::Node clip{node.name, "hardtanh", {value}, {}};
      clip.set("low", node.word("low", "-1e30"));
      clip.set("high", node.word("high", "1e30"));
      out.add(std::move(clip));
    }
    return out;
  }

  const Array<T>& in(const layers::Node& node, std::size_t k) const {
    return values_.at(node.inputs[k]);
  }

  integer::Window window(const layers::Node& node) const {
    if (node.op == "global_avg_pool") {
      return {.kernel_h = in(node, 0).shape.h(), .kernel_w = in(node, 0).shape.w()};
    }
    if (node.op == "max_pool" || node.op == "avg_pool") return layers::pool_window(node);
    integer::Window window = layers::conv_window(node);
    window.kernel_h = in(node, 1).shape.h();
    window.kernel_w = in(node, 1).shape.w();
    return window;
  }

  // What clipping keeps; an infinity where there is no bound.
  static std::pair<T, T> bounds(const layers::Node& node) {
    if (node.op == "relu") return {T{0}, std::numeric_limits<T>::infinity()};
    if (node.op == "relu6") return {T{0}, T{6}};
    return {static_cast<T>(node.real("low", -1)), static_cast<T>(node.real("high", 1))};
  }
  static bool is_clip(const layers::Node& node) {
    return node.op == "relu" || node.op == "relu6" || node.op == "hardtanh";
  }

  // Of each element, 0 or 1 / (1 - ratio): number i of the step stands at 2^34 * step + i.
  T dropout_factor(const layers::Node& node, std::size_t i) const {
    const RandomStream random(seed_, "dropout/" + node.name);
    const double ratio = node.real("ratio", 0.5);
    const auto step = static_cast<std::uint64_t>(values_.at(node.name + ".step").values[0]);
    const bool kept = static_cast<double>(random.uniform((step << 34U) + i)) >= ratio;
    return kept ? static_cast<T>(1.0 / (1.0 - ratio)) : T{0};
  }

  // Calls body(input, element of it, element of the output) for each value of a concat.
  template <typename Body>
  void for_each_joined(const layers::Node& node, const Shape& out, const Body& body) const {
    std::int64_t first = 0;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) {
      const Shape& shape = in(node, k).shape;
      for (std::int64_t i = 0; i < shape.elements(); ++i) {
        body(k, i, i / shape.c() * out.c() + first + i % shape.c());
      }
      first += shape.c();
    }
  }

  Array<T> joined(const layers::Node& node) const {
    std::int64_t channels = 0;
    for (std::size_t k = 0; k < node.inputs.size(); ++k) channels += in(node, k).shape.c();
    const Shape& x = in(node, 0).shape;
    Array<T> y(x.rank() == 4 ? Shape{x.n(), channels, x.h(), x.w()} : Shape{x.n(), channels});
    for_each_joined(node, y.shape, [&](std::size_t k, std::int64_t from, std::int64_t to) {
      y[to] = in(node, k)[from];
    });
    return y;
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
    if (node.op == "avg_pool" || node.op == "global_avg_pool") return avg_pool(x, window(node));
    if (node.op == "concat") return joined(node);
    Array<T> y = x;
    if (is_clip(node)) {
      for (T& value : y.values) value = std::clamp(value, bounds(node).first, bounds(node).second);
    } else if (node.op == "dropout") {
      for (std::size_t i = 0; i < y.values.size(); ++i) y.values[i] *= dropout_factor(node, i);
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
    } else if (node.op == "avg_pool" || node.op == "global_avg_pool") {
      avg_pool_backward(dy, window(node), dx);
    } else if (is_clip(node)) {
      const auto [low, high] = bounds(node);
      for (std::size_t i = 0; i < dy.values.size(); ++i) {
        if (x.values[i] > low && x.values[i] < high) dx.values[i] += dy.values[i];
      }
    } else if (node.op == "concat") {
      for_each_joined(node, dy.shape, [&](std::size_t k, std::int64_t from, std::int64_t to) {
        gradients_.at(node.inputs[k])[from] += dy[to];
      });
    } else if (node.op == "dropout") {
      for (std::size_t i = 0; i < dy.values.size(); ++i) {
        dx.values[i] += dy.values[i] * dropout_factor(node, i);
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

  layers::Graph graph_;
  Arrays<T> values_;
  Arrays<T> gradients_;
  std::uint64_t seed_;
};

}  // namespace bitloom::reference
