// Binary 3x3 convolutions against oneDNN's int8 and f32 kernels of the same shapes, one image.
// Run: bench_xnor, with BITLOOM_ISA=avx2|avx512 for weaker CPUs. Counter: GMAC/s.
#include <benchmark/benchmark.h>

#include <vector>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/float_inference_product.h"
#include "bitloom/kernels/int8_product.h"
#include "bitloom/kernels/popcount_product.h"
#include "bitloom/kernels/sign_bits.h"

namespace bitloom::kernels {
namespace {

using integer::Grid;

// Arguments: channels, side of the map, threads.
struct Problem {
  explicit Problem(const benchmark::State& state)
      : channels(state.range(0)), side(state.range(1)), source{1, channels, side, side} {
    set_threads(static_cast<int>(state.range(2)));
  }
  std::int64_t channels, side;
  Shape source;
  Shape weight{channels, channels, 3, 3};
  integer::Window window{.kernel_h = 3, .kernel_w = 3, .pad = 1};

  void count(benchmark::State& state) const {
    const double macs = static_cast<double>(source.elements() * channels * 9);
    state.counters["GMAC/s"] =
        benchmark::Counter(macs * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  }
};

Tensor reals(const Shape& shape, float mean = 0.0F) {
  const RandomStream random(1, "bench");
  Tensor values(DType::kF32, shape);
  for (std::int64_t i = 0; i < values.elements(); ++i) {
    values.data<float>()[i] = mean + random.normal(static_cast<std::uint64_t>(i));
  }
  return values;
}

// Codes -1 and +1, or -1, 0 and +1.
Tensor codes(const Shape& shape, Grid grid) {
  const RandomStream random(2, "bench");
  Tensor values(DType::kS8, shape);
  for (std::int64_t i = 0; i < values.elements(); ++i) {
    const auto drawn = static_cast<int>(
        random.below(static_cast<std::uint64_t>(i), grid == Grid::kBinary ? 2 : 3));
    values.data<std::int8_t>()[i] =
        static_cast<std::int8_t>(grid == Grid::kBinary ? 2 * drawn - 1 : drawn - 1);
  }
  return values;
}

struct Popcount {
  Popcount(const Problem& problem, Grid source, Grid weights)
      : product({.source = problem.source,
                 .source_grid = source,
                 .weight = problem.weight,
                 .weight_grid = weights,
                 .window = problem.window}),
        weight(codes(problem.weight, weights)),
        multiplier(reals(Shape{problem.channels}, 2.0F)),
        bias(reals(Shape{problem.channels})),
        scratch(DType::kU8, Shape{static_cast<std::int64_t>(product.scratch_bytes())}),
        bits(static_cast<std::size_t>(problem.side * problem.side * sign_words(problem.channels))) {
  }
  std::span<std::byte> memory() {
    return {static_cast<std::byte*>(scratch.raw()), scratch.bytes()};
  }
  PopcountProduct product;
  Tensor weight, multiplier, bias, scratch;
  std::vector<std::uint32_t> bits;
};

// Reals in, signs packed, reals out: what a network with real shortcuts runs.
void popcount_reals(benchmark::State& state, Grid weights) {
  const Problem problem(state);
  Popcount popcount(problem, Grid::kBinary, weights);
  popcount.product.set_weights(popcount.weight);
  popcount.product.set_scales(popcount.multiplier, popcount.bias);
  const Tensor source = reals(problem.source);
  Tensor out(DType::kF32, problem.source);
  for (auto step : state) {
    pack_signs(source.data<float>(), {problem.side * problem.side, problem.channels}, nullptr,
               nullptr, popcount.bits.data());
    popcount.product.run_reals({.bits = popcount.bits.data()}, {.out = out.data<float>()},
                               popcount.memory());
    benchmark::DoNotOptimize(out.raw());
  }
  problem.count(state);
  state.SetLabel(popcount.product.implementation());
}

// Bits in, bits out: what stands between two binary layers.
void popcount_signs(benchmark::State& state, Grid weights) {
  const Problem problem(state);
  Popcount popcount(problem, Grid::kBinary, weights);
  popcount.product.set_sign_weights(popcount.weight, popcount.multiplier, popcount.bias, {-1, 1});
  const Tensor source = reals(problem.source);
  pack_signs(source.data<float>(), {problem.side * problem.side, problem.channels}, nullptr,
             nullptr, popcount.bits.data());
  std::vector<std::uint32_t> out(popcount.bits.size());
  for (auto step : state) {
    popcount.product.run_signs({.bits = popcount.bits.data()}, out.data(), popcount.memory());
    benchmark::DoNotOptimize(out.data());
  }
  problem.count(state);
}

// Ternary codes on both sides, s8 in, s32 out.
void popcount_ternary(benchmark::State& state) {
  const Problem problem(state);
  Popcount popcount(problem, Grid::kTernary, Grid::kTernary);
  popcount.product.set_weights(popcount.weight);
  const Tensor source = codes(problem.source, Grid::kTernary);
  Tensor out(DType::kS32, problem.source);
  for (auto step : state) {
    popcount.product.run_sums({.codes = source.data<std::int8_t>()}, out.data<std::int32_t>(),
                              popcount.memory());
    benchmark::DoNotOptimize(out.raw());
  }
  problem.count(state);
}

void onednn_int8(benchmark::State& state, DType source_dtype) {
  const Problem problem(state);
  Int8Product product({.source = problem.source,
                       .source_dtype = source_dtype,
                       .weight = problem.weight,
                       .window = problem.window,
                       .clip = {.low = 0.0F, .high = 255.0F}});
  product.set_weights(codes(problem.weight, Grid::kBinary));
  product.set_scales(reals(Shape{problem.channels}), reals(Shape{problem.channels}));
  const Tensor source(source_dtype, problem.source);
  Tensor out(DType::kU8, problem.source);
  for (auto step : state) {
    product.run(source, {}, out);
    benchmark::DoNotOptimize(out.raw());
  }
  problem.count(state);
  state.SetLabel(product.implementation());
}

void onednn_f32(benchmark::State& state) {
  const Problem problem(state);
  FloatInferenceProduct product({.source = problem.source,
                                 .weight = problem.weight,
                                 .window = problem.window,
                                 .clip = integer::kRelu});
  product.set_weights(reals(problem.weight), reals(Shape{problem.channels}));
  const Tensor source = reals(problem.source);
  Tensor out(DType::kF32, problem.source);
  for (auto step : state) {
    product.run(source, {}, out);
    benchmark::DoNotOptimize(out.raw());
  }
  problem.count(state);
  state.SetLabel(product.implementation());
}

void shapes(benchmark::internal::Benchmark* benchmark) {
  for (const int count : {1, 2}) {
    benchmark->Args({64, 56, count})->Args({128, 28, count})->Args({256, 14, count});
    benchmark->Args({512, 14, count})->Args({512, 7, count});
  }
  benchmark->ArgNames({"c", "side", "threads"})->UseRealTime()->Unit(benchmark::kMicrosecond);
}

BENCHMARK_CAPTURE(popcount_reals, binary, Grid::kBinary)->Apply(shapes);
BENCHMARK_CAPTURE(popcount_reals, ternary, Grid::kTernary)->Apply(shapes);
BENCHMARK_CAPTURE(popcount_signs, binary, Grid::kBinary)->Apply(shapes);
BENCHMARK(popcount_ternary)->Apply(shapes);
BENCHMARK_CAPTURE(onednn_int8, u8, DType::kU8)->Apply(shapes);
BENCHMARK_CAPTURE(onednn_int8, s8, DType::kS8)->Apply(shapes);
BENCHMARK(onednn_f32)->Apply(shapes);

}  // namespace
}  // namespace bitloom::kernels

BENCHMARK_MAIN();
