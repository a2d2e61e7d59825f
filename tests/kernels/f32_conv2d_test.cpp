#include "bitloom/kernels/f32_conv2d.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_linear.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"
#include "support/normal_tensor.h"
#include "support/reference_ops.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

using reference::Array;

// Relative to the largest value: sums of up to a thousand f32 products.
void expect_near(ConstTensorView found, const Array<double>& wanted, const char* what) {
  double largest = 1e-3;
  for (const double value : wanted.values) largest = std::max(largest, std::fabs(value));
  for (std::int64_t i = 0; i < found.elements(); ++i) {
    ASSERT_NEAR(found.data<float>()[i], wanted[i], 1e-5 * largest) << what << "[" << i << "]";
  }
}

struct ConvCase {
  const char* name;
  F32Conv2dProblem problem;
};

void PrintTo(const ConvCase& what, std::ostream* out) { *out << what.name; }

class F32Convolution : public testing::TestWithParam<ConvCase> {};

// Scratch and results start as NaN: whatever is read before it is written shows.
TEST_P(F32Convolution, AgreesWithDoubleReferenceInAllDirections) {
  F32Conv2dProblem problem = GetParam().problem;
  problem.window.kernel_h = problem.weight.h();
  problem.window.kernel_w = problem.weight.w();
  const Tensor x = normal(problem.source, "x"), w = normal(problem.weight, "w");
  const Tensor b = normal({problem.weight.n()}, "b");
  const Tensor dy = normal(conv2d_output("conv", problem), "dy");
  const Array<double> xd(x.view()), wd(w.view()), bd(b.view()), dyd(dy.view());
  Array<double> dxd(x.shape()), dwd(w.shape()), dbd(b.shape());
  const Array<double> yd = reference::conv2d(xd, wd, problem.bias ? &bd : nullptr, problem.window);
  reference::conv2d_backward(xd, wd, dyd, problem.window, &dxd, &dwd, &dbd);

  F32Conv2d kernel(problem, {});
  Tensor scratch(DType::kU8, {static_cast<std::int64_t>(kernel.scratch_bytes())});
  auto* memory = reinterpret_cast<std::byte*>(scratch.data<std::uint8_t>());
  Tensor y = like(dy), dx = like(x), dw = like(w), db = like(b);
  const auto poison = [](Tensor& tensor) { std::memset(tensor.raw(), 0xFF, tensor.bytes()); };
  for (Tensor* tensor : {&scratch, &y, &dx, &dw, &db}) poison(*tensor);
  const bool bias = problem.bias;
  kernel.forward(x, w, bias ? b.view() : ConstTensorView(), y, memory);
  poison(scratch);
  kernel.backward_weights(x, dy, dw, bias ? db.view() : TensorView(), memory);
  poison(scratch);
  kernel.backward_data(dy, w, dx, memory);
  expect_near(y, yd, "y");
  expect_near(dw, dwd, "dw");
  expect_near(dx, dxd, "dx");
  if (bias) expect_near(db, dbd, "db");
}

const ConvCase kConvCases[] = {
    {"stem_5x5", {.source = {4, 1, 28, 28}, .weight = {32, 1, 5, 5}, .window = {.pad = 2}}},
    {"middle_5x5",
     {.source = {2, 32, 14, 14}, .weight = {64, 32, 5, 5}, .window = {.pad = 2}, .bias = true}},
    {"stem_3x3", {.source = {2, 3, 32, 32}, .weight = {16, 3, 3, 3}, .window = {.pad = 1}}},
    {"shortcut",
     {.source = {2, 16, 16, 16}, .weight = {32, 16, 1, 1}, .window = {.stride = 2}, .bias = true}},
    {"tiny_shortcut", {.source = {3, 4, 8, 8}, .weight = {6, 4, 1, 1}, .window = {.stride = 2}}},
    {"strided",
     {.source = {2, 32, 15, 15}, .weight = {64, 32, 3, 3}, .window = {.stride = 2, .pad = 1}}},
    {"odd", {.source = {3, 13, 7, 9}, .weight = {21, 13, 3, 5}, .window = {.stride = 3, .pad = 2}}},
    {"one_pixel", {.source = {1, 7, 1, 1}, .weight = {5, 7, 1, 1}, .window = {}, .bias = true}},
    {"mobilenet_depthwise",
     {.source = {3, 32, 16, 16}, .weight = {32, 1, 3, 3}, .window = {.pad = 1, .groups = 32}}},
    {"mobilenet_depthwise_strided",
     {.source = {1, 144, 15, 14},
      .weight = {144, 1, 3, 3},
      .window = {.stride = 2, .pad = 1, .groups = 144},
      .bias = true}},
    {"mobilenet_depthwise_odd",
     {.source = {5, 65, 7, 5}, .weight = {65, 1, 3, 3}, .window = {.pad = 1, .groups = 65}}},
    {"mobilenet_depthwise_one_pixel",
     {.source = {2, 96, 1, 1}, .weight = {96, 1, 3, 3}, .window = {.pad = 1, .groups = 96}}},
    {"depthwise_5x5_strided",
     {.source = {2, 19, 11, 8},
      .weight = {19, 1, 5, 5},
      .window = {.stride = 2, .pad = 2, .groups = 19}}},
    {"depthwise_two_outputs_a_channel",
     {.source = {2, 12, 6, 7}, .weight = {24, 1, 3, 3}, .window = {.pad = 1, .groups = 12}}},
    {"depthwise",
     {.source = {2, 24, 9, 9}, .weight = {24, 1, 3, 3}, .window = {.pad = 1, .groups = 24}}},
    {"inception_1x7",
     {.source = {2, 16, 9, 11}, .weight = {24, 16, 1, 7}, .window = {.column_pad = 3}}},
    {"inception_7x1",
     {.source = {1, 17, 9, 8},
      .weight = {20, 17, 7, 1},
      .window = {.pad = 3, .column_pad = 0},
      .bias = true}},
    {"groups",
     {.source = {2, 12, 6, 6}, .weight = {20, 3, 3, 3}, .window = {.groups = 4}, .bias = true}},
};

INSTANTIATE_TEST_SUITE_P(Shapes, F32Convolution, testing::ValuesIn(kConvCases),
                         [](const auto& one) { return std::string(one.param.name); });

class F32ConvolutionCaps : public testing::TestWithParam<Isa> {};

// oneDNN 3.2 chooses wrong code for strided 1x1 gradients on AVX2 (see skip_racing): each step of
// the CPU computes all shapes.
TEST_P(F32ConvolutionCaps, AgreeWithDoubleReference) {
  const ChildResult child = run_capped(GetParam(), "Shapes/F32Convolution.*");
  EXPECT_EQ(child.status, 0) << child.output;
  EXPECT_THAT(child.output, testing::HasSubstr("/tiny_shortcut"));
}

GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(F32ConvolutionCaps);
INSTANTIATE_TEST_SUITE_P(Isa, F32ConvolutionCaps, testing::ValuesIn(isa_caps()),
                         [](const auto& one) { return std::string(to_word(one.param)); });

TEST(F32Conv2d, PreparesOnlyTheDirectionsAskedFor) {
  const F32Conv2dProblem problem{
      .source = {2, 16, 8, 8}, .weight = {16, 16, 3, 3}, .window = {.pad = 1}};
  const std::string forward =
      F32Conv2d(problem, {.backward_data = false, .backward_weights = false}).implementation();
  EXPECT_THAT(forward, testing::HasSubstr("forward "));
  EXPECT_THAT(forward, testing::Not(testing::HasSubstr("backward")));
  const std::string backward = F32Conv2d(problem, {.forward = false}).implementation();
  EXPECT_THAT(backward, testing::StartsWith("backward-data "));
  EXPECT_THAT(backward, testing::HasSubstr(", backward-weights "));
}

// A plain weight layout would show as "gemm" or "ref", up to eight times slower.
TEST(F32Conv2d, RunsFastImplementationsOfTheNetworksShapes) {
  if (effective_isa() < Isa::kAvx2) GTEST_SKIP() << "no vector kernels below AVX2";
  int checked = 0;
  for (const ConvCase& one : kConvCases) {
    if (!std::string(one.name).starts_with("s") && !std::string(one.name).starts_with("m"))
      continue;
    const std::string names = F32Conv2d(one.problem, {}).implementation();
    EXPECT_THAT(names, testing::Not(testing::HasSubstr("ref"))) << one.name;
    EXPECT_THAT(names, testing::Not(testing::HasSubstr("gemm:"))) << one.name;
    ++checked;
  }
  EXPECT_EQ(checked, 9);
}

TEST(F32Conv2d, OutputShapeRefusesWhatDoesNotFit) {
  const auto output = [](const Shape& x, const Shape& w, const integer::Window& window) {
    return conv2d_output("c", {.source = x, .weight = w, .window = window});
  };
  EXPECT_EQ(output({2, 3, 8, 9}, {4, 3, 3, 3}, {.stride = 2, .pad = 1}), (Shape{2, 4, 4, 5}));
  EXPECT_ERROR(ShapeError, output({2, 3}, {4, 3, 1, 1}, {}), "c: expected input [N, C, H, W]");
  EXPECT_ERROR(ShapeError, output({2, 3, 8, 8}, {4, 3}, {}), "c: expected weight [O, I, KH, KW]");
  EXPECT_ERROR(ShapeError, output({2, 3, 2, 2}, {4, 3, 3, 3}, {}), "3x3 kernel");
  EXPECT_ERROR(ShapeError, output({2, 3, 8, 8}, {4, 3, 3, 3}, {.pad = -1}), "pad=-1");
}

TEST(F32Linear, AgreesWithDoubleReferenceInAllDirections) {
  for (const Shape& weight : {Shape{10, 512}, Shape{65, 37}, Shape{1, 1}}) {
    const F32LinearProblem problem{.source = {33, weight.c()}, .weight = weight, .bias = true};
    const Tensor x = normal(problem.source, "x"), w = normal(weight, "w");
    const Tensor b = normal({weight.n()}, "b"), dy = normal({33, weight.n()}, "dy");
    const Array<double> xd(x.view()), wd(w.view()), bd(b.view()), dyd(dy.view());
    Array<double> dxd(x.shape()), dwd(w.shape()), dbd(b.shape());
    const Array<double> yd = reference::conv2d(xd, wd, &bd, {});
    reference::conv2d_backward(xd, wd, dyd, {}, &dxd, &dwd, &dbd);

    F32Linear kernel(problem, {});
    Tensor scratch(DType::kU8, {static_cast<std::int64_t>(kernel.scratch_bytes())});
    auto* memory = reinterpret_cast<std::byte*>(scratch.data<std::uint8_t>());
    Tensor y = like(dy), dx = like(x), dw = like(w), db = like(b);
    kernel.forward(x, w, b, y, memory);
    kernel.backward_weights(x, dy, dw, db, memory);
    kernel.backward_data(dy, w, dx, memory);
    expect_near(y, yd, "y");
    expect_near(dw, dwd, "dw");
    expect_near(dx, dxd, "dx");
    expect_near(db, dbd, "db");
  }
}

}  // namespace
}  // namespace bitloom::kernels
