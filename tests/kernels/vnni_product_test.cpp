// Our VNNI kernel against the reference formula, bit for bit, where this CPU has it.
// The kernels are built for VNNI too, if Highway is asked.
#define HWY_WANT_AVX3_DL
#include "bitloom/kernels/vnni_product.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "kernels/int8_cases.h"
#include "support/error_matchers.h"

namespace bitloom::kernels {
namespace {

using integer::LayerCase;
using integer::RandomLayer;

LayerCase convolution(const char* name, const Shape& source, std::int64_t outputs,
                      const integer::Window& window = {}) {
  return {.name = name, .source = source, .outputs = outputs, .window = window};
}

/// Blocks of one to four vectors, whole and in part; tiles of one to eight pixels; windows.
std::vector<LayerCase> shapes() {
  return {
      convolution("64 outputs", {1, 32, 5, 5}, 64),
      convolution("one output", {1, 4, 3, 3}, 1),
      convolution("16 outputs", {1, 16, 3, 5}, 16),
      convolution("19 outputs", {2, 20, 4, 7}, 19),
      convolution("48 outputs", {1, 24, 3, 3}, 48),
      convolution("50 outputs", {1, 24, 7, 1}, 50),
      convolution("63 outputs", {1, 8, 11, 1}, 63),
      convolution("65 outputs", {3, 12, 5, 3}, 65),
      convolution("128 outputs, one pixel", {1, 96, 1, 1}, 128),
      convolution("200 outputs", {1, 64, 9, 2}, 200),
      convolution("deep", {1, 1024, 3, 3}, 64),
      convolution("stride 2", {2, 32, 9, 7}, 64, {.stride = 2}),
      convolution("stride 2, 33 outputs", {1, 8, 6, 5}, 33, {.stride = 2}),
      convolution("1x1 with pad", {1, 8, 3, 4}, 64, {.pad = 1}),
      convolution("3x3", {2, 16, 7, 5}, 64, {.kernel_h = 3, .kernel_w = 3, .pad = 1}),
      convolution("3x3 stride 2", {1, 20, 8, 9}, 70,
                  {.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1}),
      convolution("1x7", {1, 12, 3, 9}, 64, {.kernel_w = 7, .column_pad = 3}),
      convolution("7x1", {1, 12, 9, 3}, 32, {.kernel_h = 7, .pad = 3, .column_pad = 0}),
      convolution("7x7", {1, 4, 8, 7}, 24, {.kernel_h = 7, .kernel_w = 7, .stride = 2, .pad = 3})};
}

bool is_taken(const Int8Format& format) {
  return format.destination != DType::kS32 && format.destination != DType::kF32 &&
         !format.source.is_signed;
}

bool has_kernel() { return effective_isa() >= Isa::kAvx512Vnni; }

Tensor run(const LayerCase& problem, const RandomLayer& made) {
  VnniProduct product(problem_of(problem));
  load(problem, made, product);
  Tensor found(problem.destination, product.destination());
  product.run(made.source, made.residual, found);
  return found;
}

TEST(VnniProduct, EqualsReferenceInEveryFormat) {
  if (!has_kernel()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI";
  int compared = 0;
  for (const LayerCase& shape : shapes()) {
    for (const Int8Format& format : int8_formats()) {
      if (!is_taken(format)) continue;
      const LayerCase problem = int8_case(shape, format, Isa::kAvx512Vnni);
      const RandomLayer made = random_layer(problem, 7);
      const Tensor expected = by_reference(problem, made);
      EXPECT_EQ(differences(expected, run(problem, made)), 0)
          << problem.name << " of " << expected.elements();
      if (expected.elements() > 100) {
        EXPECT_GT(inside(expected, problem.destination_format.range), 0.1) << problem.name;
      }
      ++compared;
    }
  }
  EXPECT_GE(compared, 19 * 13);
}

TEST(VnniProduct, AddsAResidualInItsOwnMemory) {
  if (!has_kernel()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI";
  for (const Int8Format& format : int8_formats()) {
    if (!is_taken(format) || !format.residual || dtype_of(*format.residual) != format.destination) {
      continue;
    }
    for (const char* name : {"64 outputs", "65 outputs"}) {
      const std::vector<LayerCase> all = shapes();
      const auto shape = std::find_if(all.begin(), all.end(),
                                      [&](const LayerCase& each) { return each.name == name; });
      const LayerCase problem = int8_case(*shape, format, Isa::kAvx512Vnni);
      const RandomLayer made = random_layer(problem, 11);
      VnniProduct product(problem_of(problem));
      load(problem, made, product);
      Tensor both = made.residual.clone();
      product.run(made.source, both, both);
      EXPECT_EQ(differences(by_reference(problem, made), both), 0) << problem.name;
    }
  }
}

TEST(VnniProduct, WritesPixelsApartAndNothingBetweenThem) {
  if (!has_kernel()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI";
  constexpr std::int64_t kPitch = 300;
  constexpr std::uint8_t kUntouched = 77;
  for (const LayerCase& shape : shapes()) {
    const LayerCase problem = int8_case(shape, int8_formats().front(), Isa::kAvx512Vnni);
    const RandomLayer made = random_layer(problem, 5);
    const Tensor expected = by_reference(problem, made);
    VnniProduct product(problem_of(problem));
    load(problem, made, product);
    product.set_pitch(kPitch);
    const std::int64_t channels = expected.shape().c();
    const std::int64_t pixels = expected.elements() / channels;
    Tensor rows(DType::kU8, Shape{pixels, kPitch});
    std::fill_n(rows.data<std::uint8_t>(), rows.elements(), kUntouched);
    product.run(made.source, {}, rows);
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < rows.elements(); ++i) {
      const std::int64_t c = i % kPitch;
      const std::uint8_t wanted =
          c < channels ? expected.data<std::uint8_t>()[i / kPitch * channels + c] : kUntouched;
      wrong += rows.data<std::uint8_t>()[i] != wanted;
    }
    EXPECT_EQ(wrong, 0) << problem.name;
  }
}

TEST(VnniProduct, SaturatesRealsThatNoIntegerHolds) {
  if (!has_kernel()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI";
  for (const float size : {1e6F, 1e30F}) {
    const LayerCase problem = int8_case(shapes()[7], int8_formats().front(), Isa::kAvx512Vnni);
    RandomLayer made = random_layer(problem, 3);
    for (float& multiplier : made.model.layers.front().multiplier.span<float>()) {
      multiplier *= size;
    }
    EXPECT_EQ(differences(by_reference(problem, made), run(problem, made)), 0) << size;
  }
}

TEST(VnniProduct, IsTheSameForAnyNumberOfThreads) {
  if (!has_kernel()) GTEST_SKIP() << "this CPU has no AVX-512 VNNI";
  const int before = threads();
  for (const LayerCase& shape :
       {convolution("pixels", {1, 64, 33, 21}, 130), convolution("blocks", {1, 256, 5, 5}, 256)}) {
    const LayerCase problem = int8_case(shape, int8_formats().front(), Isa::kAvx512Vnni);
    const RandomLayer made = random_layer(problem, 7);
    const Tensor expected = by_reference(problem, made);
    for (const int count : {1, 2, 5}) {
      set_threads(count);
      EXPECT_EQ(differences(expected, run(problem, made)), 0) << problem.name << ", " << count;
    }
  }
  set_threads(before);
}

TEST(VnniProduct, SaysWhyItDeclines) {
  const Int8Problem taken =
      problem_of(int8_case(shapes()[0], int8_formats().front(), Isa::kAvx512Vnni));
  const auto expect = [&](const char* reason, const auto& change) {
    Int8Problem problem = taken;
    change(problem);
    EXPECT_ERROR(BackendError, VnniProduct{problem}, cat("VNNI product: ", reason));
  };
  expect("no convolution of one group", [](Int8Problem& p) {
    p.weight = Shape{64, 16, 1, 1};
    p.window.groups = 2;
  });
  expect("a window of more than 49 pixels", [](Int8Problem& p) {
    p.source = Shape{1, 32, 9, 9};
    p.weight = Shape{64, 32, 8, 8};
    p.window = {.kernel_h = 8, .kernel_w = 8};
  });
  expect("input channels are no multiple of 4", [](Int8Problem& p) {
    p.source = Shape{1, 30, 5, 5};
    p.weight = Shape{64, 30, 1, 1};
  });
  expect("signed codes", [](Int8Problem& p) { p.source_dtype = DType::kS8; });
  expect("an output other than codes", [](Int8Problem& p) { p.destination_dtype = DType::kF32; });
  expect("a real residual", [](Int8Problem& p) {
    p.residual = true;
    p.residual_dtype = DType::kF32;
  });
  if (!has_kernel()) expect("no kernel for this CPU", [](Int8Problem&) {});
}

}  // namespace
}  // namespace bitloom::kernels
