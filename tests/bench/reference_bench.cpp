// Speed of the reference executor and of oneDNN's int8 products over convolutions: GMAC/s.
// Run: bench_reference --benchmark_filter=reference
#include <benchmark/benchmark.h>

#include "bitloom/integer/reference.h"
#include "bitloom/kernels/int8_product.h"
#include "integer/random_layer.h"

namespace bitloom {
namespace {

using integer::LayerCase;
using integer::RandomLayer;

/// Convolutions of ResNet-20, ResNet-18 and lenet5.
std::vector<LayerCase> cases() {
  std::vector<LayerCase> out;
  const auto conv = [&](const char* name, Shape source, std::int64_t outputs, std::int64_t kernel,
                        std::int64_t stride, std::int64_t pad, std::int64_t groups = 1) {
    LayerCase made;
    made.name = name;
    made.source = source;
    made.outputs = outputs;
    made.window = {
        .kernel_h = kernel, .kernel_w = kernel, .stride = stride, .pad = pad, .groups = groups};
    made.source_format = integer::u8_format();
    made.destination_format = integer::u8_format();
    made.weights = {-64, 63};
    out.push_back(made);
  };
  conv("16ch_32x32", {8, 16, 32, 32}, 16, 3, 1, 1);
  conv("32ch_16x16", {8, 32, 16, 16}, 32, 3, 1, 1);
  conv("64ch_8x8", {8, 64, 8, 8}, 64, 3, 1, 1);
  conv("64ch_56x56", {1, 64, 56, 56}, 64, 3, 1, 1);
  conv("256ch_14x14", {1, 256, 14, 14}, 256, 3, 1, 1);
  conv("512ch_7x7", {1, 512, 7, 7}, 512, 3, 1, 1);
  conv("1x1_64to256_56x56", {1, 64, 56, 56}, 256, 1, 1, 0);
  conv("stem_7x7s2_112", {1, 3, 112, 112}, 64, 7, 2, 3);
  conv("lenet_conv1_28x28", {16, 1, 28, 28}, 32, 5, 1, 2);
  conv("lenet_conv2_14x14", {16, 32, 14, 14}, 64, 5, 1, 2);
  conv("depthwise_64ch_56x56", {1, 64, 56, 56}, 64, 3, 1, 1, 64);
  LayerCase linear = out.front();
  linear.name = "linear_3136to512_batch16";
  linear.source = {16, 3136};
  linear.outputs = 512;
  linear.linear = true;
  out.push_back(linear);
  return out;
}

double macs(const LayerCase& problem) {
  const double depth =
      static_cast<double>(weight_shape(problem).elements()) / static_cast<double>(problem.outputs);
  return depth * static_cast<double>(output_shape(problem).elements());
}

void count(benchmark::State& state, const LayerCase& problem) {
  state.counters["GMAC/s"] = benchmark::Counter(
      macs(problem) * 1e-9 * static_cast<double>(state.iterations()), benchmark::Counter::kIsRate);
}

void reference(benchmark::State& state, const LayerCase& problem) {
  const RandomLayer made = random_layer(problem, 1);
  Tensor memory(DType::kU8, Shape{static_cast<std::int64_t>(integer::scratch_bytes(
                                made.model, made.layer(), problem.source.n()))});
  const std::span<std::byte> scratch(static_cast<std::byte*>(memory.raw()), memory.bytes());
  Tensor out(DType::kU8, output_shape(problem));
  const ConstTensorView inputs[1] = {made.source};
  for (auto _ : state) run_layer(made.model, made.layer(), inputs, out, scratch);
  count(state, problem);
}

void onednn(benchmark::State& state, const LayerCase& problem) {
  const RandomLayer made = random_layer(problem, 1);
  kernels::Int8Product product({.source = problem.source,
                                .weight = weight_shape(problem),
                                .window = problem.window,
                                .relu = true});
  product.set_weights(made.layer().weight);
  product.set_scales(made.layer().multiplier, made.layer().bias);
  Tensor out(DType::kU8, output_shape(problem));
  for (auto _ : state) product.run(made.source, {}, out);
  count(state, problem);
  state.SetLabel(product.implementation());
}

}  // namespace
}  // namespace bitloom

int main(int argc, char** argv) {
  for (const bitloom::integer::LayerCase& problem : bitloom::cases()) {
    benchmark::RegisterBenchmark(("reference/" + problem.name).c_str(), bitloom::reference, problem)
        ->UseRealTime();
    benchmark::RegisterBenchmark(("onednn/" + problem.name).c_str(), bitloom::onednn, problem)
        ->UseRealTime();
  }
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
