// Time of a float training step (forward, loss, backward, plain SGD) of the named networks.
// Run: build/release/bench_step   (OMP_NUM_THREADS=2 for the figures of src/layers/README.md)
#include <benchmark/benchmark.h>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/models/networks.h"

namespace bitloom {
namespace {

constexpr std::int64_t kBatch = 128;
constexpr std::int64_t kClasses = 10;

void train_step(benchmark::State& state, const char* name, const models::NetworkShape& shape) {
  layers::ParameterStore store(1);
  layers::Network network(models::build_network(name, shape), layers::float_layers(), store,
                          {.batch = kBatch});
  Tensor images(DType::kF32, {kBatch, shape.channels, shape.height, shape.width});
  const RandomStream random(1, "images");
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  std::vector<std::int32_t> labels;
  for (std::int32_t n = 0; n < kBatch; ++n) labels.push_back(n % kClasses);
  Tensor gradient(DType::kF32, {kBatch, kClasses});
  double loss = 0.0;
  for (auto _ : state) {
    loss = layers::softmax_cross_entropy(network.forward(images, layers::Phase::kTrain), labels,
                                         gradient);
    network.backward(gradient);
    for (auto& [parameter_name, parameter] : store.all()) {
      if (!is_trainable(parameter.role)) continue;
      float* value = parameter.value.data<float>();
      const float* slope = parameter.gradient.data<float>();
#pragma omp simd
      for (std::int64_t i = 0; i < parameter.value.elements(); ++i) value[i] -= 0.01F * slope[i];
    }
  }
  state.counters["loss"] = loss;
  state.counters["memory_mb"] = static_cast<double>(network.memory_bytes()) / 1e6;
}

BENCHMARK_CAPTURE(train_step, lenet5, "lenet5", models::NetworkShape{})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();
BENCHMARK_CAPTURE(train_step, resnet8, "resnet8",
                  models::NetworkShape{.channels = 3, .height = 32, .width = 32})
    ->Unit(benchmark::kMillisecond)
    ->UseRealTime();

}  // namespace
}  // namespace bitloom

BENCHMARK_MAIN();
