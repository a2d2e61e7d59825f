// The shapes and number formats over which the int8 kernels are held to the reference, and how.
#pragma once

#include <cstring>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/int8_product.h"
#include "integer/random_layer.h"

namespace bitloom::kernels {

/// Source, outputs, window: odd sizes, strides, groups, stems.
inline std::vector<integer::LayerCase> int8_shapes() {
  const auto conv = [](const char* name, Shape source, std::int64_t outputs, std::int64_t kernel,
                       std::int64_t stride, std::int64_t pad, std::int64_t groups = 1) {
    return integer::LayerCase{.name = name,
                              .source = source,
                              .outputs = outputs,
                              .window = {.kernel_h = kernel,
                                         .kernel_w = kernel,
                                         .stride = stride,
                                         .pad = pad,
                                         .groups = groups}};
  };
  std::vector<integer::LayerCase> shapes{
      conv("3x3", {1, 64, 9, 7}, 64, 3, 1, 1),
      conv("3x3 batch 3", {3, 16, 10, 10}, 16, 3, 1, 1),
      conv("3x3 stride 2", {1, 16, 17, 16}, 32, 3, 2, 1),
      conv("3x3 odd channels", {1, 19, 8, 9}, 21, 3, 1, 1),
      conv("1x1", {1, 128, 7, 7}, 48, 1, 1, 0),
      conv("1x1 stride 2 batch 3", {3, 32, 9, 9}, 64, 1, 2, 0),
      conv("5x5 pad 2", {1, 20, 11, 12}, 50, 5, 1, 2),
      conv("5x5 one channel", {3, 1, 28, 28}, 32, 5, 1, 2),
      conv("7x7 stride 2 stem", {1, 3, 33, 32}, 64, 7, 2, 3),
      conv("3x3 stem batch 3", {3, 3, 16, 16}, 16, 3, 1, 1),
      conv("depthwise", {1, 64, 11, 11}, 64, 3, 1, 1, 64),
      conv("depthwise stride 2", {3, 96, 14, 13}, 96, 3, 2, 1, 96),
      conv("depthwise odd", {1, 65, 7, 6}, 65, 3, 1, 1, 65),
      conv("depthwise odd stride 2", {3, 19, 8, 9}, 19, 3, 2, 1, 19),
      conv("depthwise of three", {1, 3, 9, 9}, 3, 3, 1, 1, 3),
      conv("depthwise 5x5", {1, 32, 9, 9}, 32, 5, 1, 2, 32),
      conv("4 groups", {1, 64, 9, 9}, 64, 3, 1, 1, 4),
      conv("deep 3x3", {1, 512, 5, 5}, 96, 3, 1, 1)};
  const auto long_window = [&](const char* name, const integer::Window& window) {
    shapes.push_back({.name = name, .source = {2, 32, 9, 11}, .outputs = 48, .window = window});
  };
  long_window("1x7", {.kernel_w = 7, .column_pad = 3});
  long_window("7x1", {.kernel_h = 7, .pad = 3, .column_pad = 0});
  integer::LayerCase linear{.name = "linear", .source = {1, 512}, .outputs = 10, .linear = true};
  shapes.push_back(linear);
  linear.name = "linear from maps, batch 3";
  linear.source = {3, 64, 7, 7};
  linear.outputs = 100;
  shapes.push_back(linear);
  linear.name = "linear odd, batch 3";
  linear.source = {3, 131};
  linear.outputs = 17;
  shapes.push_back(linear);
  return shapes;
}

/// Groups that oneDNN has no AVX2 kernel for: it declines them there.
inline std::vector<integer::LayerCase> int8_ragged_shapes() {
  const auto grouped = [](const char* name, Shape source, std::int64_t outputs,
                          std::int64_t groups) {
    return integer::LayerCase{
        .name = name,
        .source = source,
        .outputs = outputs,
        .window = {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1, .groups = groups}};
  };
  return {grouped("depthwise twice the outputs", {1, 6, 5, 5}, 12, 6),
          grouped("groups of odd sizes", {1, 9, 6, 6}, 15, 3)};
}

/// Number formats of one layer; `needs_exact` where a CPU without VNNI cannot hold them.
struct Int8Format {
  const char* name;
  integer::AffineFormat source = integer::u8_format();
  DType destination = DType::kU8;
  integer::AffineFormat destination_format = integer::u8_format();
  integer::Clip clip = integer::kRelu;
  std::optional<integer::AffineFormat> residual = {};
  bool power_of_two = false;
  bool needs_exact = false;
};

inline std::vector<Int8Format> int8_formats() {
  using integer::s8_format;
  using integer::u8_format;
  std::vector<Int8Format> formats;
  formats.push_back({.name = "u8 relu"});
  formats.push_back({.name = "ties", .power_of_two = true});
  formats.push_back({.name = "f32", .destination = DType::kF32, .clip = {}});
  formats.push_back({.name = "f32 relu", .destination = DType::kF32});
  formats.push_back({.name = "s32", .destination = DType::kS32, .clip = {}});
  formats.push_back({.name = "u8 with zero point from zero point",
                     .source = u8_format(8, 128),
                     .destination_format = u8_format(8, 128),
                     .clip = {}});
  formats.push_back({.name = "f32 from zero point",
                     .source = u8_format(8, 117),
                     .destination = DType::kF32,
                     .clip = {}});
  formats.push_back(
      {.name = "s8", .destination = DType::kS8, .destination_format = s8_format(), .clip = {}});
  // The output's scale is 0.05: code 110 of real 5.5. Most of t lies beyond -0.4 and 0.3 reals.
  formats.push_back({.name = "u8 clip", .clip = {.low = 0.0F, .high = 5.5F}});
  formats.push_back(
      {.name = "f32 clip", .destination = DType::kF32, .clip = {.low = -0.4F, .high = 0.3F}});
  formats.push_back({.name = "s8 clip with u8 residual",
                     .destination = DType::kS8,
                     .destination_format = s8_format(),
                     .clip = {.low = -2.0F, .high = 3.0F},
                     .residual = u8_format(8, 100)});
  formats.push_back({.name = "relu to a zero point",
                     .source = u8_format(8, 31),
                     .destination_format = u8_format(8, 77)});
  formats.push_back({.name = "4 bits", .source = u8_format(4), .destination_format = u8_format(4)});
  formats.push_back({.name = "signed 4 bits",
                     .destination = DType::kS8,
                     .destination_format = s8_format(4),
                     .clip = {}});
  formats.push_back({.name = "3 bits around 4",
                     .source = u8_format(3, 4),
                     .destination_format = u8_format(3, 4),
                     .clip = {}});
  formats.push_back({.name = "u8 residual", .residual = u8_format()});
  formats.push_back({.name = "s8 residual", .residual = s8_format()});
  formats.push_back({.name = "u8 residual with zero point", .residual = u8_format(8, 128)});
  formats.push_back(
      {.name = "4-bit residual", .destination_format = u8_format(4), .residual = s8_format(4)});
  formats.push_back({.name = "s8 from u8 residual",
                     .destination = DType::kS8,
                     .destination_format = s8_format(),
                     .clip = {},
                     .residual = u8_format()});
  formats.push_back(
      {.name = "f32 with residual", .destination = DType::kF32, .residual = u8_format(8, 128)});
  formats.push_back({.name = "f32 with s8 residual",
                     .destination = DType::kF32,
                     .clip = {},
                     .residual = s8_format()});
  formats.push_back({.name = "s8 source", .source = s8_format(), .needs_exact = true});
  formats.push_back({.name = "s8 source to s32",
                     .source = s8_format(),
                     .destination = DType::kS32,
                     .clip = {},
                     .needs_exact = true});
  formats.push_back({.name = "s8 source with s8 residual to s8",
                     .source = s8_format(),
                     .destination = DType::kS8,
                     .destination_format = s8_format(),
                     .clip = integer::kRelu,
                     .residual = s8_format(),
                     .needs_exact = true});
  return formats;
}

/// The shape in that format, with weights that `isa` sums exactly.
inline integer::LayerCase int8_case(integer::LayerCase shape, const Int8Format& format, Isa isa) {
  shape.name += cat(", ", format.name);
  shape.source_format = format.source;
  shape.destination = format.destination;
  shape.destination_format = format.destination_format;
  shape.clip = format.clip;
  shape.residual = format.residual;
  shape.power_of_two = format.power_of_two;
  shape.weights = has_exact_u8s8(isa) ? integer::CodeRange{-127, 127} : integer::CodeRange{-64, 63};
  return shape;
}

/// As the kernels take it.
inline Int8Problem problem_of(const integer::LayerCase& problem) {
  return {.source = problem.source,
          .source_dtype = dtype_of(problem.source_format),
          .source_zero_point = problem.source_format.zero_point != 0,
          .weight = weight_shape(problem),
          .window = problem.window,
          .destination_dtype = problem.destination,
          .clip = bounds_of_t(problem),
          .residual = problem.residual.has_value(),
          .residual_dtype = problem.residual ? dtype_of(*problem.residual) : DType::kU8};
}

inline Tensor by_reference(const integer::LayerCase& problem, const integer::RandomLayer& made) {
  Tensor acc(DType::kS32, output_shape(problem));
  integer::accumulate(made.model, made.layer(), made.source, acc);
  if (problem.destination == DType::kS32) return acc;
  Tensor out(problem.destination, acc.shape());
  integer::requantize(made.model, made.layer(), acc, made.residual, out);
  return out;
}

template <class Product>
void load(const integer::LayerCase& problem, const integer::RandomLayer& made, Product& product) {
  product.set_weights(made.layer().weight);
  product.set_scales(made.layer().multiplier, made.layer().bias);
  if (problem.source_format.zero_point != 0) {
    product.set_source_zero_point(problem.source_format.zero_point);
  }
  if constexpr (requires { product.set_residual(0.0F, 0); }) {
    if (!problem.residual) return;
    product.set_residual(made.layer().residual_ratio, problem.residual->zero_point);
  }
}

/// Elements whose bytes differ.
inline std::int64_t differences(const Tensor& a, const Tensor& b) {
  const std::size_t size = size_of(a.dtype());
  const char* left = static_cast<const char*>(a.raw());
  const char* right = static_cast<const char*>(b.raw());
  std::int64_t count = 0;
  for (std::size_t i = 0; i < a.bytes(); i += size) {
    count += std::memcmp(left + i, right + i, size) != 0;
  }
  return count;
}

/// Share of codes strictly inside the range: a test that saturates everywhere proves nothing.
inline double inside(const Tensor& codes, integer::CodeRange range) {
  std::int64_t count = 0;
  for (std::int64_t i = 0; i < codes.elements(); ++i) {
    const std::int32_t code =
        codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[i] : codes.data<std::int8_t>()[i];
    count += code > range.qmin && code < range.qmax;
  }
  return static_cast<double>(count) / static_cast<double>(codes.elements());
}

}  // namespace bitloom::kernels
