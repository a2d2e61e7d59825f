// Our depthwise kernel against the reference formula, bit for bit, on every vector target.
// The kernels are built for VNNI too, if Highway is asked.
#define HWY_WANT_AVX3_DL
#include "bitloom/kernels/depthwise_product.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/parallel.h"
#include "kernels/int8_cases.h"
#include "support/error_matchers.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

using integer::LayerCase;
using integer::RandomLayer;

LayerCase depthwise(const char* name, const Shape& source, std::int64_t stride, std::int64_t pad,
                    std::int64_t column_pad = -1) {
  return {.name = name,
          .source = source,
          .outputs = source.c(),
          .window = {.kernel_h = 3,
                     .kernel_w = 3,
                     .stride = stride,
                     .pad = pad,
                     .groups = source.c(),
                     .column_pad = column_pad}};
}

/// Blocks of 64, 32 and 16 channels, whole and overlapping; odd and even sides.
std::vector<LayerCase> shapes() {
  return {depthwise("16 channels", {1, 16, 5, 4}, 1, 1),
          depthwise("19 channels", {2, 19, 4, 7}, 1, 1),
          depthwise("32 channels", {1, 32, 9, 8}, 1, 1),
          depthwise("63 channels", {1, 63, 6, 5}, 1, 1),
          depthwise("64 channels", {3, 64, 7, 7}, 1, 1),
          depthwise("65 channels", {1, 65, 8, 6}, 1, 1),
          depthwise("144 channels", {1, 144, 5, 5}, 1, 1),
          depthwise("256 channels, many rows", {1, 256, 30, 9}, 1, 1),
          depthwise("stride 2", {1, 64, 9, 8}, 2, 1),
          depthwise("stride 2, 50 channels", {2, 50, 8, 9}, 2, 1),
          depthwise("stride 2, 112 channels, no pad", {1, 112, 7, 8}, 2, 0),
          depthwise("no pad", {1, 48, 6, 7}, 1, 0),
          depthwise("wide pad", {1, 32, 3, 4}, 1, 2),
          depthwise("wide pad, stride 2", {1, 32, 4, 3}, 2, 2),
          depthwise("pads differ", {1, 64, 5, 6}, 1, 0, 1),
          depthwise("one pixel", {1, 80, 1, 1}, 1, 1),
          depthwise("one row", {2, 32, 1, 9}, 1, 1),
          depthwise("one column, stride 2", {1, 32, 9, 1}, 2, 1)};
}

bool is_taken(const Int8Format& format) {
  return !format.residual && format.destination != DType::kS32;
}

Tensor run(const LayerCase& problem, const RandomLayer& made) {
  DepthwiseProduct product(problem_of(problem));
  load(problem, made, product);
  Tensor found(problem.destination, product.destination());
  product.run(made.source, found);
  return found;
}

/// Runs `body` on each target that has the kernel: not on Highway's emulation. How often.
template <typename Body>
int for_each_target(const Body& body) {
  int count = 0;
  for_each_highway_target([&] {
    try {
      const DepthwiseProduct probe(
          problem_of(int8_case(shapes()[0], int8_formats().front(), Isa::kAvx512Vnni)));
    } catch (const BackendError&) {
      return;
    }
    ++count;
    body();
  });
  return count;
}

TEST(DepthwiseProduct, EqualsReferenceInEveryFormatOnEveryTarget) {
  const int targets = for_each_target([&] {
    int compared = 0;
    for (const LayerCase& shape : shapes()) {
      for (const Int8Format& format : int8_formats()) {
        if (!is_taken(format)) continue;
        LayerCase problem = int8_case(shape, format, Isa::kAvx512Vnni);  // 8-bit weights everywhere
        const RandomLayer made = random_layer(problem, 7);
        const Tensor expected = by_reference(problem, made);
        EXPECT_EQ(differences(expected, run(problem, made)), 0)
            << problem.name << " of " << expected.elements();
        if (problem.destination != DType::kF32) {
          EXPECT_GT(inside(expected, problem.destination_format.range), 0.1) << problem.name;
        }
        ++compared;
      }
    }
    EXPECT_GE(compared, 18 * 13);
  });
  EXPECT_GE(targets, detected_isa() >= Isa::kAvx2 ? 2 : 0);
}

// Beyond the range of s32 a conversion would give its lowest value.
TEST(DepthwiseProduct, SaturatesRealsThatNoIntegerHolds) {
  for_each_target([&] {
    for (const float size : {1e6F, 1e30F}) {
      const LayerCase problem = int8_case(shapes()[4], int8_formats().front(), Isa::kAvx512Vnni);
      RandomLayer made = random_layer(problem, 3);
      for (float& multiplier : made.model.layers.front().multiplier.span<float>()) {
        multiplier *= size;
      }
      const Tensor expected = by_reference(problem, made);
      EXPECT_EQ(differences(expected, run(problem, made)), 0) << size;
    }
  });
}

TEST(DepthwiseProduct, IsTheSameForOneAndTwoThreads) {
  const int before = threads();
  for (const LayerCase& shape : {depthwise("rows", {1, 32, 65, 33}, 1, 1),
                                 depthwise("overlapping blocks", {3, 200, 21, 13}, 2, 1)}) {
    const LayerCase problem = int8_case(shape, int8_formats().front(), Isa::kAvx512Vnni);
    const RandomLayer made = random_layer(problem, 5);
    for (const int count : {1, 2, 5}) {
      set_threads(count);
      EXPECT_EQ(differences(by_reference(problem, made), run(problem, made)), 0)
          << shape.name << ", threads " << count;
    }
  }
  set_threads(before);
}

TEST(DepthwiseProduct, SaysWhyItDeclines) {
  const Int8Problem fine =
      problem_of(int8_case(shapes()[4], int8_formats().front(), Isa::kAvx512Vnni));
  const DepthwiseProduct product(fine);
  EXPECT_EQ(product.implementation().substr(0, 18), "bitloom:depthwise:");
  EXPECT_GT(product.memory_bytes(), 64U * 9U);
  Int8Problem problem = fine;
  problem.residual = true;
  EXPECT_ERROR(BackendError, DepthwiseProduct{problem}, "depthwise product: a residual");
  problem = fine;
  problem.window.stride = 3;
  EXPECT_ERROR(BackendError, DepthwiseProduct{problem}, "a stride above 2");
  problem = fine;
  problem.destination_dtype = DType::kS32;
  EXPECT_ERROR(BackendError, DepthwiseProduct{problem}, "bare sums as output");
  problem = fine;
  problem.source = Shape{1, 8, 7, 7};
  problem.weight = Shape{8, 1, 3, 3};
  problem.window.groups = 8;
  EXPECT_ERROR(BackendError, DepthwiseProduct{problem}, "fewer than 16 channels");
  problem = fine;
  problem.weight = Shape{64, 64, 3, 3};
  problem.window.groups = 1;
  EXPECT_ERROR(BackendError, DepthwiseProduct{problem}, "no depthwise layer");
}

}  // namespace
}  // namespace bitloom::kernels
