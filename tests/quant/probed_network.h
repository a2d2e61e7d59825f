// A small network with residual sums on random images, with its noise to be probed.
#pragma once

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

inline constexpr std::int64_t kBatch = 32;

inline constexpr const char* kResidual = R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
conv2.weight = parameter(shape=8x8x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add1 = add(bn2, relu1)
relu2 = relu(add1)
conv3.weight = parameter(shape=16x8x3x3)
conv3 = conv2d(relu2, conv3.weight, pad=1, stride=2)
bn3 = batch_norm(conv3)
down.weight = parameter(shape=16x8x1x1)
down = conv2d(relu2, down.weight, stride=2)
down.bn = batch_norm(down)
add2 = add(bn3, down.bn)
relu3 = relu(add2)
gap = global_avg_pool(relu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x16)
fc = linear(flatten, fc.weight, bias=1)
)";

struct Probed {
  explicit Probed(const std::string& text, QuantOptions wanted = {}) : options(std::move(wanted)) {
    graph = layers::Graph::parse(text, "test");
    const Shape shape = graph.nodes().front().shape("shape");
    images = Tensor(DType::kF32, shape.with_batch(kBatch));
    const RandomStream random(5, "images");
    for (std::int64_t i = 0; i < images.elements(); ++i) {
      images.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
    }
    layers::Network network(graph, layers::float_layers(), store, {.batch = kBatch});
    for (int step = 0; step < 3; ++step) network.forward(images, layers::Phase::kTrain);
    batches = [this](const auto& use) { use(images.view()); };
  }
  NoiseProbe probe() {
    return NoiseProbe(graph, store, options, {integer::profile_named("int8"), true}, batches,
                      kBatch);
  }
  // Output noise power of the passes' own network, as post-training quantization makes it.
  double quantized_noise(QuantOptions with) {
    layers::ParameterStore copies(store.seed());
    for (const auto& [name, parameter] : store.all()) {
      copy(parameter.value,
           copies.declare(name, parameter.value.shape(), parameter.role, {}).value);
    }
    const layers::Graph quantized = quantize_network(
        graph, copies, with, {integer::profile_named("int8"), true}, batches, kBatch);
    layers::Network real(graph, layers::float_layers(), copies,
                         {.batch = kBatch, .training = false});
    layers::Network coded(quantized, quantized_layers(), copies,
                          {.batch = kBatch, .training = false});
    const ConstTensorView a = real.forward(images, layers::Phase::kEvaluate);
    const ConstTensorView b = coded.forward(images, layers::Phase::kEvaluate);
    double sum = 0.0;
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      sum += std::pow(double{a.data<float>()[i]} - double{b.data<float>()[i]}, 2);
    }
    return sum / static_cast<double>(a.elements());
  }

  QuantOptions options;
  layers::ParameterStore store{3};
  layers::Graph graph;
  Tensor images;
  CalibrationBatches batches;
};

inline double measured_db(NoiseProbe& probe, const StepBits& bits) {
  const std::vector<StepBits> one{bits};
  return to_db(probe.output_signal(), probe.measure(one).front().output);
}

}  // namespace bitloom::quant
