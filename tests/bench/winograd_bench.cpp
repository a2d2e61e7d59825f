// One direction of a training step's convolution in f32: oneDNN's kernel and Winograd's. Counter:
// GFLOP/s of the direct sum, so that Winograd's may pass the machine's peak.
#include <benchmark/benchmark.h>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_conv2d.h"
#include "bitloom/kernels/winograd_conv2d.h"
#include "support/normal_tensor.h"

namespace bitloom::kernels {
namespace {

// Arguments: direction (0 forward, 1 data, 2 weights), images, channels in, out, side, taps,
// threads.
template <typename Kernel>
void convolution(benchmark::State& state) {
  set_threads(static_cast<int>(state.range(6)));
  const std::int64_t taps = state.range(5);
  const F32Conv2dProblem problem{
      .source = {state.range(1), state.range(2), state.range(4), state.range(4)},
      .weight = {state.range(3), state.range(2), taps, taps},
      .window = {.kernel_h = taps, .kernel_w = taps, .pad = taps / 2}};
  Kernel kernel(problem, {.forward = state.range(0) == 0,
                          .backward_data = state.range(0) == 1,
                          .backward_weights = state.range(0) == 2});
  const Shape output = conv2d_output("bench", problem);
  const Tensor x = normal(problem.source, "x"), w = normal(problem.weight, "w");
  const Tensor dy = normal(output, "dy");
  Tensor dx(DType::kF32, problem.source), y(DType::kF32, output), dw(DType::kF32, problem.weight);
  Tensor scratch(DType::kU8, {static_cast<std::int64_t>(kernel.scratch_bytes())});
  auto* memory = static_cast<std::byte*>(scratch.raw());
  for (auto _ : state) {
    switch (state.range(0)) {
      case 0:
        kernel.forward(x, w, {}, y, memory);
        break;
      case 1:
        kernel.backward_data(dy, w, dx, memory);
        break;
      default:
        kernel.backward_weights(x, dy, dw, {}, memory);
    }
    benchmark::ClobberMemory();
  }
  state.counters["GFLOP/s"] = benchmark::Counter(
      2e-9 * static_cast<double>(dy.elements() * problem.weight.elements() / state.range(3)),
      benchmark::Counter::kIsIterationInvariantRate);
}

void layers(benchmark::internal::Benchmark* bench) {
  for (const std::int64_t threads : {1, 2}) {
    for (const std::int64_t direction : {0, 1, 2}) {
      for (const auto& layer : std::vector<std::vector<std::int64_t>>{{128, 16, 16, 32, 3},
                                                                      {128, 32, 32, 16, 3},
                                                                      {128, 64, 64, 8, 3},
                                                                      {128, 32, 64, 14, 5},
                                                                      {100, 128, 128, 32, 3},
                                                                      {100, 256, 256, 16, 3},
                                                                      {100, 512, 512, 8, 3},
                                                                      {16, 64, 64, 56, 3},
                                                                      {16, 512, 512, 7, 3}}) {
        std::vector<std::int64_t> arguments{direction};
        arguments.insert(arguments.end(), layer.begin(), layer.end());
        arguments.push_back(threads);
        bench->Args(arguments);
      }
    }
  }
}

BENCHMARK(convolution<F32Conv2d>)->UseRealTime()->Apply(layers);
BENCHMARK(convolution<WinogradConv2d>)->UseRealTime()->Apply(layers);

}  // namespace
}  // namespace bitloom::kernels

BENCHMARK_MAIN();
