#include "bitloom/kernels/bf16_weight_gradient.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/bf16_convert.h"
#include "support/isa_children.h"
#include "support/normal_tensor.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

struct Case {
  const char* name;
  Shape source;
  Shape weight;
  integer::Window window;
  DType dtype = DType::kU8;
  std::int32_t zero_point = 0;
};

void PrintTo(const Case& what, std::ostream* out) { *out << what.name; }

F32Conv2dProblem problem_of(const Case& what) {
  F32Conv2dProblem problem{.source = what.source, .weight = what.weight, .window = what.window};
  problem.window.kernel_h = problem.weight.h();
  problem.window.kernel_w = problem.weight.w();
  return problem;
}

Tensor source_of(const Case& what) {
  if (what.dtype == DType::kF32) return normal(what.source, "x");
  Tensor codes(what.dtype, what.source);
  const RandomStream random(6, "codes");
  auto* bytes = static_cast<std::uint8_t*>(codes.raw());
  for (std::int64_t i = 0; i < codes.elements(); ++i) {
    bytes[i] = static_cast<std::uint8_t>(random.bits(static_cast<std::uint64_t>(i)));
  }
  return codes;
}

// Each output by its own largest: their factors differ.
void expect_rows_near(const Tensor& found, const Tensor& wanted, const char* what) {
  const std::int64_t row = found.elements() / found.shape()[0];
  for (std::int64_t o = 0; o < found.shape()[0]; ++o) {
    float largest = 0.0F;
    for (std::int64_t i = o * row; i < (o + 1) * row; ++i) {
      largest = std::max(largest, std::fabs(wanted.data<float>()[i]));
    }
    const float sums = row == 1 ? 30.0F : 1.0F;  // a bias may be a small difference of large sums
    for (std::int64_t i = o * row; i < (o + 1) * row; ++i) {
      ASSERT_NEAR(found.data<float>()[i], wanted.data<float>()[i], 4e-6F * sums * largest)
          << what << "[" << i << "]";
    }
  }
}

class Bf16Weights : public testing::TestWithParam<Case> {
 protected:
  void SetUp() override {
    if (!Bf16WeightGradient::supports(problem_of(GetParam()))) {
      GTEST_SKIP() << "needs AVX512-BF16 with VBMI2, or AMX";
    }
  }
};

// Scratch and results start as NaN: whatever is read before it is written shows. The sums are of
// exact products, so only their order in f32 differs from the reference.
TEST_P(Bf16Weights, EqualTheReferenceUpToTheOrderOfSums) {
  const F32Conv2dProblem problem = problem_of(GetParam());
  const Tensor x = source_of(GetParam());
  const Tensor dy = normal(conv2d_output("test", problem), "dy");
  const Tensor factor = normal({problem.weight.n()}, "factor");
  Bf16WeightGradient kernel(problem);
  Tensor scratch(DType::kU8, {static_cast<std::int64_t>(kernel.scratch_bytes())});
  Tensor dw(DType::kF32, problem.weight), db(DType::kF32, {problem.weight.n()});
  Tensor dd(DType::kBf16, dy.shape());
  for (Tensor* tensor : {&scratch, &dw, &db, &dd})
    std::memset(tensor->raw(), 0xFF, tensor->bytes());
  Bf16WeightGradient::Call call{.source = x.raw(),
                                .source_dtype = x.dtype(),
                                .zero_point = GetParam().zero_point,
                                .gradient = dy.raw(),
                                .scale = 0.25F,
                                .weight_gradient = dw.data<float>(),
                                .bias_gradient = db.data<float>(),
                                .data_factor = factor.data<float>(),
                                .data_gradient = dd.data<Bf16>()};
  kernel.run(call, static_cast<std::byte*>(scratch.raw()));

  Tensor wanted_dw(DType::kF32, dw.shape()), wanted_db(DType::kF32, db.shape());
  Tensor wanted_dd(DType::kBf16, dd.shape());
  call.weight_gradient = wanted_dw.data<float>();
  call.bias_gradient = wanted_db.data<float>();
  reference::bf16_weight_gradient(problem, call);
  reference::to_bf16(dy.data<float>(), dy.elements() / factor.elements(), factor.elements(),
                     factor.data<float>(), wanted_dd.data<Bf16>());
  // A bias sums every pixel in f32: on one thread in one piece, whose rounding walks further.
  const auto expect_near = [](const Tensor& found, const Tensor& wanted, const char* what) {
    const float share = wanted.shape().rank() == 1 ? 6e-6F : 2e-6F;
    float largest = 0.0F;
    for (const float value : wanted.span<float>()) largest = std::max(largest, std::fabs(value));
    ASSERT_GT(largest, 0.0F);
    for (std::int64_t i = 0; i < found.elements(); ++i) {
      ASSERT_NEAR(found.data<float>()[i], wanted.data<float>()[i], share * largest)
          << what << "[" << i << "]";
    }
  };
  expect_near(dw, wanted_dw, "dw");
  expect_near(db, wanted_db, "db");
  EXPECT_EQ(std::memcmp(dd.raw(), wanted_dd.raw(), dd.bytes()), 0) << "dy for backward-data";

  // Neither what is left out nor an old result changes a bit.
  Tensor again(DType::kF32, dw.shape());
  call.weight_gradient = again.data<float>();
  call.bias_gradient = nullptr;
  call.data_gradient = nullptr;
  kernel.run(call, static_cast<std::byte*>(scratch.raw()));
  EXPECT_EQ(std::memcmp(dw.raw(), again.raw(), dw.bytes()), 0);

  // A gradient that comes rounded, with the factor in it; what it is divided by is that factor.
  call.gradient = dd.raw();
  call.gradient_dtype = DType::kBf16;
  call.weight_gradient = dw.data<float>();
  call.bias_gradient = db.data<float>();
  kernel.run(call, static_cast<std::byte*>(scratch.raw()));
  call.weight_gradient = wanted_dw.data<float>();
  call.bias_gradient = wanted_db.data<float>();
  reference::bf16_weight_gradient(problem, call);
  expect_rows_near(dw, wanted_dw, "dw of bf16");
  expect_rows_near(db, wanted_db, "db of bf16");
}

const Case kCases[] = {
    {"resnet20_stage1", {3, 16, 32, 32}, {16, 16, 3, 3}, {.pad = 1}},
    {"resnet20_stage2", {3, 32, 16, 16}, {32, 32, 3, 3}, {.pad = 1}},
    {"strided", {2, 16, 9, 9}, {32, 16, 3, 3}, {.stride = 2, .pad = 1}},
    {"strided_even", {2, 32, 8, 8}, {16, 32, 3, 3}, {.stride = 2, .pad = 1}},
    {"shortcut", {5, 16, 7, 7}, {32, 16, 1, 1}, {.stride = 2}},
    {"five_wide", {2, 16, 9, 10}, {16, 16, 5, 5}, {.pad = 2}},
    {"five_wide_strided", {2, 16, 9, 10}, {16, 16, 5, 5}, {.stride = 2, .pad = 2}},
    {"pointwise", {2, 32, 6, 5}, {48, 32, 1, 1}, {}},
    {"one_pixel", {4, 16, 1, 1}, {16, 16, 1, 1}, {}},
    {"one_pixel_padded", {4, 16, 1, 1}, {16, 16, 3, 3}, {.pad = 1}},
    {"no_pad", {1, 16, 6, 6}, {16, 16, 3, 3}, {}},
    {"narrow_window", {2, 16, 5, 7}, {16, 16, 5, 1}, {.pad = 2}},
    {"signed_codes", {2, 16, 6, 6}, {16, 16, 3, 3}, {.pad = 1}, DType::kS8},
    {"zero_point", {2, 16, 6, 6}, {16, 16, 3, 3}, {.pad = 1}, DType::kU8, 131},
    {"reals", {2, 16, 6, 6}, {16, 16, 3, 3}, {.pad = 1}, DType::kF32},
    {"odd_blocks", {3, 48, 7, 7}, {48, 48, 3, 3}, {.pad = 1}},
    {"parts_of_outputs", {3, 128, 7, 7}, {144, 128, 3, 3}, {.pad = 1}},
    {"parts_in_groups", {24, 128, 14, 14}, {128, 128, 3, 3}, {.stride = 2, .pad = 1}},
    {"many_groups", {40, 16, 16, 16}, {16, 16, 1, 1}, {}},
    {"rows_in_groups", {2, 32, 61, 63}, {32, 32, 3, 3}, {.pad = 1}},
};

// On AMX alone.
const Case kStems[] = {
    {"stem_three", {3, 3, 32, 32}, {16, 3, 3, 3}, {.pad = 1}, DType::kS8},
    {"stem_seven", {2, 3, 56, 50}, {64, 3, 7, 7}, {.stride = 2, .pad = 3}, DType::kU8, 119},
    {"stem_reals", {2, 3, 9, 11}, {32, 3, 5, 5}, {.stride = 2, .pad = 2}, DType::kF32},
    {"stem_gray", {5, 1, 12, 12}, {32, 1, 5, 5}, {}, DType::kU8},
    {"stem_no_pad_strided", {2, 3, 15, 15}, {32, 3, 3, 3}, {.stride = 2}, DType::kU8, 7},
    {"stem_fifteen", {2, 15, 6, 5}, {16, 15, 4, 4}, {.pad = 1}, DType::kS8},
};

INSTANTIATE_TEST_SUITE_P(Shapes, Bf16Weights, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });
INSTANTIATE_TEST_SUITE_P(Stems, Bf16Weights, testing::ValuesIn(kStems),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(Bf16WeightGradient, DeclinesWhatItHasNoKernelFor) {
  const F32Conv2dProblem good{
      .source = {2, 16, 8, 8}, .weight = {16, 16, 3, 3}, .window = {.pad = 1}};
  const auto with = [&](const Shape& source, const Shape& weight, const integer::Window& window) {
    return Bf16WeightGradient::supports({.source = source, .weight = weight, .window = window});
  };
  const bool amx = effective_isa() == Isa::kAvx512Amx;
  EXPECT_EQ(with({2, 3, 8, 8}, {16, 3, 3, 3}, {.pad = 1}), amx) << "a stem";
  EXPECT_FALSE(with({2, 15, 8, 8}, {16, 15, 5, 5}, {.pad = 2})) << "a window's row of 75 values";
  EXPECT_FALSE(with({2, 24, 8, 8}, {16, 24, 3, 3}, {.pad = 1})) << "inputs not in sixteens";
  EXPECT_FALSE(with({2, 16, 8, 8}, {10, 16, 3, 3}, {.pad = 1})) << "outputs not in sixteens";
  EXPECT_FALSE(with({2, 16, 8, 8}, {16, 16, 7, 7}, {.pad = 3})) << "seven columns";
  EXPECT_FALSE(with({2, 16, 9, 9}, {16, 16, 3, 3}, {.stride = 3})) << "stride 3";
  EXPECT_FALSE(with({2, 16, 8, 8}, {16, 1, 3, 3}, {.pad = 1, .groups = 16})) << "depthwise";
  EXPECT_FALSE(!has_bf16(effective_isa()) && Bf16WeightGradient::supports(good));
}

class Bf16WeightsCaps : public testing::TestWithParam<Isa> {};

TEST_P(Bf16WeightsCaps, DeclineOrAgree) {
  const ChildResult child = run_capped(GetParam(), "Shapes/Bf16Weights.*");
  EXPECT_EQ(child.status, 0) << child.output;
  if (GetParam() == detected_isa()) return;
  EXPECT_THAT(child.output, testing::HasSubstr("SKIPPED")) << "a cap takes bf16 away";
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Bf16WeightsCaps);
INSTANTIATE_TEST_SUITE_P(Isa, Bf16WeightsCaps, testing::ValuesIn(isa_caps()),
                         [](const auto& one) { return std::string(to_word(one.param)); });

}  // namespace
}  // namespace bitloom::kernels
