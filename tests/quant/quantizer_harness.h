// One fake_quant node in a network of its own: its input is a parameter, so that backward gives dx.
#pragma once

#include <string>
#include <vector>

#include "bitloom/layers/network.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

class OneNode {
 public:
  /// `attributes`: "quantizer=lsq, bits=4, dtype=u8, qmin=0, qmax=15".
  OneNode(const Shape& shape, const std::string& attributes, std::vector<float> x)
      : graph(layers::Graph::parse(
            cat("bitloom-graph 1\ninput = input(shape=1)\nx = parameter(shape=",
                layers::shape_text(shape, false), ")\nq = fake_quant(x, ", attributes, ")\n"),
            "one node")),
        network(graph, quantized_layers(), store, {.batch = 1}),
        images(DType::kF32, Shape{1, 1}) {
    set("x", x);
  }

  void set(const std::string& name, const std::vector<float>& values) {
    copy(make_tensor<float>(store.at(name).value.shape(), values), store.at(name).value);
  }
  std::vector<float> value(const std::string& name) const { return listed(store.at(name).value); }
  std::vector<float> gradient(const std::string& name) const {
    return listed(store.at(name).gradient);
  }

  std::vector<float> forward(layers::Phase phase = layers::Phase::kTrain) {
    const ConstTensorView y = network.forward(images, phase);
    const auto values = y.span<float>();
    return {values.begin(), values.end()};
  }
  /// After forward(kTrain).
  void backward(const std::vector<float>& dy) {
    network.backward(make_tensor<float>(store.at("x").value.shape(), dy));
  }

  layers::ParameterStore store{3};
  layers::Graph graph;
  layers::Network network;
  Tensor images;

 private:
  static std::vector<float> listed(const Tensor& tensor) {
    const auto values = tensor.span<float>();
    return {values.begin(), values.end()};
  }
};

}  // namespace bitloom::quant
