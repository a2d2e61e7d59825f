#include "bitloom/kernels/winograd_conv2d.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "support/isa_children.h"
#include "support/normal_tensor.h"
#include "support/reference_ops.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

using reference::Array;

struct Case {
  const char* name;
  F32Conv2dProblem problem;
  DType codes = DType::kU8;
  std::int32_t zero_point = 0;
};

void PrintTo(const Case& what, std::ostream* out) { *out << what.name; }

F32Conv2dProblem problem_of(const Case& what) {
  F32Conv2dProblem problem = what.problem;
  problem.window.kernel_h = problem.weight.h();
  problem.window.kernel_w = problem.weight.w();
  return problem;
}

void poison(Tensor& tensor) { std::memset(tensor.raw(), 0xFF, tensor.bytes()); }

// The transforms multiply by up to 8 and subtract: their rounding is up to 1e-5 of the largest
// value here, ten times that of a direct sum.
void expect_near(const Tensor& found, const Array<double>& wanted, const char* what) {
  double largest = 1e-3, error = 0.0;
  for (const double value : wanted.values) largest = std::max(largest, std::fabs(value));
  for (std::int64_t i = 0; i < found.elements(); ++i) {
    const double difference = std::fabs(static_cast<double>(found.data<float>()[i]) - wanted[i]);
    ASSERT_LE(difference, 2e-5 * largest) << what << "[" << i << "]";
    error = std::max(error, difference / largest);
  }
  testing::Test::RecordProperty(what, std::to_string(error));
}

class Winograd : public testing::TestWithParam<Case> {
 protected:
  Winograd()
      : problem(problem_of(GetParam())),
        x(normal(problem.source, "x")),
        w(normal(problem.weight, "w")),
        b(normal({problem.weight.n()}, "b")),
        dy(normal(conv2d_output("test", problem), "dy")) {}
  ~Winograd() override { set_threads(0); }

  // Scratch and results start as NaN: whatever is read before it is written shows.
  template <typename Call>
  void run(const F32Directions& directions, const Call& call) const {
    WinogradConv2d kernel(problem, directions);
    Tensor scratch(DType::kU8, {static_cast<std::int64_t>(kernel.scratch_bytes())});
    poison(scratch);
    call(kernel, static_cast<std::byte*>(scratch.raw()));
  }
  Tensor forward() const {
    Tensor y = like(dy);
    poison(y);
    run({.backward_data = false, .backward_weights = false},
        [&](WinogradConv2d& kernel, std::byte* scratch) {
          kernel.forward(x, w, problem.bias ? b.view() : ConstTensorView(), y, scratch);
        });
    return y;
  }
  Tensor backward_data() const {
    Tensor dx = like(x);
    poison(dx);
    backward_data_to(dx, false);
    return dx;
  }
  void backward_data_to(Tensor& dx, bool adds) const {
    run({.forward = false, .backward_weights = false},
        [&](WinogradConv2d& kernel, std::byte* scratch) {
          kernel.backward_data(dy, w, dx, scratch, adds);
        });
  }
  std::pair<Tensor, Tensor> backward_weights(ConstTensorView source,
                                             const WinogradConv2d::Codes& codes) const {
    Tensor dw = like(w), db = like(b);
    poison(dw);
    poison(db);
    run({.forward = false, .backward_data = false},
        [&](WinogradConv2d& kernel, std::byte* scratch) {
          kernel.backward_weights(source, dy, dw, problem.bias ? db.view() : TensorView(), scratch,
                                  codes);
        });
    return {std::move(dw), std::move(db)};
  }

  F32Conv2dProblem problem;
  Tensor x, w, b, dy;
};

TEST_P(Winograd, AgreesWithDoubleReferenceInAllDirections) {
  const Array<double> xd(x.view()), wd(w.view()), bd(b.view()), dyd(dy.view());
  Array<double> dxd(x.shape()), dwd(w.shape()), dbd(b.shape());
  const Array<double> yd = reference::conv2d(xd, wd, problem.bias ? &bd : nullptr, problem.window);
  reference::conv2d_backward(xd, wd, dyd, problem.window, &dxd, &dwd, &dbd);
  for (const int count : {1, 3}) {
    set_threads(count);
    expect_near(forward(), yd, "y");
    expect_near(backward_data(), dxd, "dx");
    const auto [dw, db] = backward_weights(x, {});
    expect_near(dw, dwd, "dw");
    if (problem.bias) expect_near(db, dbd, "db");
  }
}

TEST_P(Winograd, GradientOfWeightsReadsCodes) {
  Tensor codes(GetParam().codes, problem.source);
  const RandomStream random(6, "codes");
  const std::int32_t zero_point = GetParam().zero_point;
  Array<double> reals(problem.source);
  for (std::int64_t i = 0; i < codes.elements(); ++i) {
    const auto byte = static_cast<std::uint8_t>(random.bits(static_cast<std::uint64_t>(i)));
    static_cast<std::uint8_t*>(codes.raw())[i] = byte;
    const int code =
        codes.dtype() == DType::kS8 ? static_cast<std::int8_t>(byte) : static_cast<int>(byte);
    reals[i] = 0.25 * (code - zero_point);
  }
  const Array<double> wd(w.view()), dyd(dy.view());
  Array<double> dxd(x.shape()), dwd(w.shape()), dbd(b.shape());
  reference::conv2d_backward(reals, wd, dyd, problem.window, &dxd, &dwd, &dbd);
  const auto [dw, db] = backward_weights(codes, {.scale = 0.25F, .zero_point = zero_point});
  expect_near(dw, dwd, "dw");
}

TEST_P(Winograd, ThreadsChangeNoBitOfOutputsAndTheirGradients) {
  set_threads(1);
  const Tensor y = forward(), dx = backward_data();
  set_threads(3);
  EXPECT_EQ(std::memcmp(y.raw(), forward().raw(), y.bytes()), 0);
  EXPECT_EQ(std::memcmp(dx.raw(), backward_data().raw(), dx.bytes()), 0);
}

// As a pass of its own would: one rounding more.
TEST_P(Winograd, AddsToAGradientThatIsThere) {
  const Tensor dx = backward_data();
  Tensor sum = x.clone();
  backward_data_to(sum, true);
  for (std::int64_t i = 0; i < sum.elements(); ++i) {
    ASSERT_EQ(sum.data<float>()[i], x.data<float>()[i] + dx.data<float>()[i]) << i;
  }
}

const Case kCases[] = {
    {"one_tile", {.source = {1, 16, 4, 4}, .weight = {16, 16, 3, 3}, .window = {.pad = 1}}},
    {"resnet20",
     {.source = {3, 16, 32, 32}, .weight = {16, 16, 3, 3}, .window = {.pad = 1}},
     DType::kU8,
     7},
    {"wider",
     {.source = {2, 16, 9, 11}, .weight = {48, 16, 3, 3}, .window = {.pad = 1}, .bias = true}},
    {"narrower",
     {.source = {2, 80, 7, 7}, .weight = {16, 80, 3, 3}, .window = {.pad = 1}},
     DType::kS8,
     -5},
    {"shared",
     {.source = {25, 64, 5, 5}, .weight = {80, 64, 3, 3}, .window = {.pad = 1}, .bias = true},
     DType::kU8,
     255},
    {"shared_odd_lines",
     {.source = {2, 112, 8, 8}, .weight = {80, 112, 3, 3}, .window = {.pad = 1}}},
    {"no_pad", {.source = {2, 32, 9, 8}, .weight = {16, 32, 3, 3}, .window = {}}, DType::kS8, 3},
    {"full_pad", {.source = {2, 16, 5, 6}, .weight = {16, 16, 3, 3}, .window = {.pad = 2}}},
    {"lenet5",
     {.source = {4, 32, 14, 14}, .weight = {64, 32, 5, 5}, .window = {.pad = 2}, .bias = true},
     DType::kU8,
     131},
    {"five_no_pad", {.source = {2, 16, 9, 7}, .weight = {16, 16, 5, 5}, .window = {}}},
    {"five_one_pixel", {.source = {3, 16, 1, 1}, .weight = {32, 16, 5, 5}, .window = {.pad = 2}}},
};

INSTANTIATE_TEST_SUITE_P(Shapes, Winograd, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(WinogradConv2d, SaysWhatItSupportsAndWhereItPays) {
  const auto problem = [](const Shape& source, const Shape& weight, integer::Window window) {
    window.kernel_h = weight.h();
    window.kernel_w = weight.w();
    return F32Conv2dProblem{.source = source, .weight = weight, .window = window};
  };
  const auto middle = problem({8, 32, 16, 16}, {32, 32, 3, 3}, {.pad = 1});
  EXPECT_TRUE(WinogradConv2d::supports(middle));
  EXPECT_TRUE(WinogradConv2d::pays(middle));
  for (const auto& other : {problem({8, 32, 16, 16}, {32, 32, 3, 3}, {.stride = 2, .pad = 1}),
                            problem({8, 32, 16, 16}, {32, 32, 1, 1}, {}),
                            problem({8, 32, 16, 16}, {32, 32, 3, 5}, {.pad = 1}),
                            problem({8, 32, 16, 16}, {32, 32, 3, 3}, {.pad = 1, .column_pad = 0}),
                            problem({8, 32, 16, 16}, {32, 32, 3, 3}, {.pad = 3}),
                            problem({8, 32, 16, 16}, {32, 1, 3, 3}, {.pad = 1, .groups = 32}),
                            problem({8, 20, 16, 16}, {32, 20, 3, 3}, {.pad = 1}),
                            problem({8, 32, 16, 16}, {20, 32, 3, 3}, {.pad = 1})}) {
    EXPECT_FALSE(WinogradConv2d::supports(other));
    EXPECT_FALSE(WinogradConv2d::pays(other));
  }
  F32Conv2dProblem bf16 = middle;
  bf16.operands = DType::kBf16;
  EXPECT_FALSE(WinogradConv2d::supports(bf16));
  // Few tiles, and tiles that are mostly empty.
  EXPECT_FALSE(WinogradConv2d::pays(problem({1, 32, 16, 16}, {32, 32, 3, 3}, {.pad = 1})));
  EXPECT_FALSE(WinogradConv2d::pays(problem({64, 32, 2, 2}, {32, 32, 3, 3}, {.pad = 1})));
}

TEST(WinogradIsa, WeakerInstructionsAgreeToo) {
  for (const Isa isa : isa_caps()) {
    const ChildResult child = run_capped(isa, "Shapes/Winograd.*");
    EXPECT_EQ(child.status, 0) << to_word(isa) << child.output;
  }
}

}  // namespace
}  // namespace bitloom::kernels
