// Random layers with honest scales: about half of the outputs lie inside the code range, so a wrong
// bit shows. Used by tests of integer, kernels and backends.
#pragma once

#include <cmath>
#include <optional>
#include <ostream>
#include <string>

#include "bitloom/core/random.h"
#include "bitloom/integer/model.h"
#include "bitloom/integer/requantize.h"

namespace bitloom::integer {

/// One static convolution (or linear layer where linear is set) and its tensors.
struct LayerCase {
  std::string name;
  Shape source{1, 16, 8, 8};  ///< the batch counts
  std::int64_t outputs = 16;
  Window window = {};
  bool linear = false;
  AffineFormat source_format = {};
  DType destination = DType::kU8;
  AffineFormat destination_format = {};
  Clip clip = kRelu;
  std::optional<AffineFormat> residual = {};
  CodeRange weights{-127, 127};
  bool power_of_two = false;  ///< multipliers 2^-n and biases k/2: exact ties occur
};

inline constexpr float kOutputScale = 0.05F;  ///< of a destination of codes

inline void PrintTo(const LayerCase& value, std::ostream* out) { *out << value.name; }

/// A model of that one layer with its inputs; tensors 0 source, 1 residual (if any), last output.
struct RandomLayer {
  Model model;
  Tensor source;
  Tensor residual;  ///< empty without one

  const Layer& layer() const { return model.layers.front(); }
};

inline AffineFormat u8_format(int bits = 8, std::int32_t zero_point = 0) {
  return {.bits = bits,
          .is_signed = false,
          .zero_point = zero_point,
          .range = activation_range(bits, false)};
}

inline AffineFormat s8_format(int bits = 8) {
  return {.bits = bits, .is_signed = true, .zero_point = 0, .range = activation_range(bits, true)};
}

inline DType dtype_of(const AffineFormat& format) {
  return format.is_signed ? DType::kS8 : DType::kU8;
}

inline Tensor random_codes(const Shape& shape, DType dtype, CodeRange range,
                           const RandomStream& random) {
  Tensor codes(dtype, shape);
  for (std::int64_t i = 0; i < codes.elements(); ++i) {
    const std::uint32_t step =
        random.below(static_cast<std::uint64_t>(i), static_cast<std::uint32_t>(range.levels()));
    const std::int32_t code = range.qmin + static_cast<std::int32_t>(step);
    if (dtype == DType::kU8) codes.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(code);
    if (dtype == DType::kS8) codes.data<std::int8_t>()[i] = static_cast<std::int8_t>(code);
  }
  return codes;
}

inline Shape weight_shape(const LayerCase& problem) {
  if (problem.linear) {
    return {problem.outputs, problem.source.elements() / problem.source.n()};
  }
  return {problem.outputs, problem.source.c() / problem.window.groups, problem.window.kernel_h,
          problem.window.kernel_w};
}

inline Shape output_shape(const LayerCase& problem) {
  const Shape& source = problem.source;
  if (problem.linear) return {source.n(), problem.outputs};
  const Window& window = problem.window;
  return {source.n(), problem.outputs, window.output_h(source.h()), window.output_w(source.w())};
}

/// What t ends within: codes, or reals of an f32 destination.
inline Clip bounds_of_t(const LayerCase& problem) {
  if (problem.destination == DType::kF32) return problem.clip;
  const CodeRange range = clipped_range(problem.clip, problem.destination_format, kOutputScale);
  return {.low = static_cast<float>(range.qmin), .high = static_cast<float>(range.qmax)};
}

/// m[o] and b[o]: accumulators of the expected spread fill the destination's range; a quarter of
/// the channels has a negative multiplier.
inline void random_scales(const LayerCase& problem, const RandomStream& random, Layer& layer) {
  const bool real = problem.destination == DType::kF32;
  const CodeRange range = problem.destination_format.range;
  const double span = real ? 2.0 : range.levels();
  const double depth =
      static_cast<double>(layer.weight.elements()) / static_cast<double>(problem.outputs);
  const double spread =
      std::sqrt(depth) * 0.3 * problem.source_format.range.levels() * 0.58 * problem.weights.qmax;
  layer.multiplier = Tensor(DType::kF32, Shape{problem.outputs});
  layer.bias = Tensor(DType::kF32, Shape{problem.outputs});
  for (std::int64_t o = 0; o < problem.outputs; ++o) {
    const auto index = static_cast<std::uint64_t>(o);
    double size = span * 0.3 / spread * (0.5 + random.uniform(2 * index));
    double shift = span * (random.uniform(2 * index + 1) - 0.4);
    if (problem.power_of_two) {
      size = std::exp2(std::round(std::log2(size)));
      shift = std::round(2.0 * shift) / 2.0;
    }
    const double zero_point = real ? 0.0 : problem.destination_format.zero_point;
    layer.multiplier.data<float>()[o] = static_cast<float>(o % 4 == 3 ? -size : size);
    layer.bias.data<float>()[o] = static_cast<float>(shift + zero_point);
  }
}

inline RandomLayer random_layer(const LayerCase& problem, std::uint64_t seed) {
  RandomLayer made;
  Model& model = made.model;
  const DType source_dtype = dtype_of(problem.source_format);
  model.tensors.push_back({.name = "x",
                           .shape = problem.source.with_batch(1),
                           .dtype = source_dtype,
                           .format = problem.source_format,
                           .scale = 0.02F});
  made.source = random_codes(problem.source, source_dtype, problem.source_format.range,
                             RandomStream(seed, "source"));
  const Shape output = output_shape(problem);
  Layer layer{.name = problem.name,
              .op = problem.linear ? LayerOp::kLinear : LayerOp::kConv2d,
              .mode = ComputeMode::kStatic,
              .inputs = {0},
              .output = problem.residual ? 2 : 1,
              .window = problem.window,
              .clip = problem.clip,
              .weight = random_codes(weight_shape(problem), DType::kS8, problem.weights,
                                     RandomStream(seed, "weight")),
              .weight_bits = 8,
              .weight_range = problem.weights,
              .weight_scale = {},
              .multiplier = {},
              .bias = {}};
  random_scales(problem, RandomStream(seed, "scales"), layer);
  if (problem.residual) {
    const DType dtype = dtype_of(*problem.residual);
    model.tensors.push_back({.name = "r",
                             .shape = output.with_batch(1),
                             .dtype = dtype,
                             .format = *problem.residual,
                             .scale = 0.03F});
    made.residual =
        random_codes(output, dtype, problem.residual->range, RandomStream(seed, "residual"));
    layer.inputs.push_back(1);
    layer.residual_ratio = problem.destination == DType::kF32 ? 0.00731234F : 0.7312345F;
  }
  model.tensors.push_back({.name = "y",
                           .shape = output.with_batch(1),
                           .dtype = problem.destination,
                           .format = problem.destination_format,
                           .scale = kOutputScale});
  model.layers.push_back(std::move(layer));
  return made;
}

}  // namespace bitloom::integer
