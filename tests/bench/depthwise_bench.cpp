// 3x3 depthwise convolutions of codes, one image whose codes lie in the caches. Counter: GMAC/s.
// Run: bench_depthwise, with BITLOOM_ISA=avx2|avx512 for weaker CPUs.
#include <benchmark/benchmark.h>

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/depthwise_product.h"

namespace bitloom::kernels {
namespace {

// Arguments: channels, side of the map, stride, threads: the layers of MobileNetV1.
void depthwise(benchmark::State& state) {
  const std::int64_t channels = state.range(0);
  const std::int64_t side = state.range(1);
  const std::int64_t stride = state.range(2);
  set_threads(static_cast<int>(state.range(3)));
  DepthwiseProduct product(
      {.source = {1, channels, side, side},
       .weight = {channels, 1, 3, 3},
       .window = {.kernel_h = 3, .kernel_w = 3, .stride = stride, .pad = 1, .groups = channels}});
  const RandomStream random(1, "bench");
  const auto fill = [&random](Tensor& codes) {
    for (std::int64_t i = 0; i < codes.elements(); ++i) {
      static_cast<std::uint8_t*>(codes.raw())[i] =
          static_cast<std::uint8_t>(random.below(static_cast<std::uint64_t>(i), 256));
    }
  };
  Tensor weight(DType::kS8, Shape{channels, 1, 3, 3});
  Tensor source(DType::kU8, Shape{1, channels, side, side});
  fill(weight);
  fill(source);
  Tensor multiplier(DType::kF32, Shape{channels});
  Tensor bias(DType::kF32, Shape{channels});
  std::fill_n(multiplier.data<float>(), channels, 0.001F);
  std::fill_n(bias.data<float>(), channels, 100.0F);
  product.set_weights(weight);
  product.set_scales(multiplier, bias);
  product.set_source_zero_point(3);
  Tensor destination(DType::kU8, product.destination());
  for (auto _ : state) {
    product.run(source, destination);
    benchmark::ClobberMemory();
  }
  state.counters["GMAC/s"] = benchmark::Counter(static_cast<double>(destination.elements()) * 9e-9,
                                                benchmark::Counter::kIsIterationInvariantRate);
}

BENCHMARK(depthwise)
    ->UseRealTime()
    ->ArgsProduct({{512}, {14, 7}, {1}, {1, 2}})
    ->ArgsProduct({{256}, {28}, {1, 2}, {1, 2}})
    ->ArgsProduct({{128}, {56}, {1, 2}, {1, 2}})
    ->ArgsProduct({{32}, {112}, {1}, {1, 2}})
    ->ArgsProduct({{64}, {112}, {2}, {1, 2}})
    ->ArgsProduct({{1024}, {7}, {1}, {1, 2}});

}  // namespace
}  // namespace bitloom::kernels

BENCHMARK_MAIN();
