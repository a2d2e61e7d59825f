// Products of a training step against sums in double: f32 within the rounding of sums, bf16 within
// that of its operands.
#include "bitloom/kernels/training_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/bf16_convert.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"
#include "support/normal_tensor.h"
#include "support/reference_ops.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

namespace sums = bitloom::reference;
using sums::Array;

Array<double> magnitudes(Array<double> of) {
  for (double& value : of.values) value = std::fabs(value);
  return of;
}

struct Case {
  const char* name;
  TrainingProblem problem;
  std::int32_t zero_point = 0;
};

void PrintTo(const Case& what, std::ostream* out) { *out << what.name; }

// An operand: reals, or codes with their scales, and the reals that they stand for.
struct Operand {
  Operand(const Shape& shape, DType dtype, std::int64_t rows, std::int32_t zero_point,
          const char* name)
      : stored(dtype, shape), scales(DType::kF32, {rows}), reals(normal(shape, name)) {
    const RandomStream random(7, name);
    for (std::int64_t r = 0; r < rows; ++r) {
      scales.data<float>()[r] = 0.01F + 0.02F * random.uniform(static_cast<std::uint64_t>(r));
    }
    format = {
        .rows = rows,
        .cols = shape.elements() / rows,
        .scale = scales.data<float>(),
        .scale_per_row = rows > 1,
        .format = {.is_signed = dtype == DType::kS8, .zero_point = zero_point, .range = {0, 255}}};
    if (dtype == DType::kF32) {
      copy(reals, stored);
      return;
    }
    auto* codes = static_cast<std::uint8_t*>(stored.raw());
    for (std::int64_t i = 0; i < stored.elements(); ++i) {
      codes[i] = static_cast<std::uint8_t>(random.bits(static_cast<std::uint64_t>(i)));
    }
    reference::dequantize(codes, format, reals.data<float>());
  }
  Tensor stored, scales, reals;
  RowsFormat format;
};

Shape as_image(const Shape& shape) {
  return shape.rank() == 4 ? shape : Shape{shape[0], shape[1], 1, 1};
}

// Results and how far bf16 may be from them: a share of the sums of magnitudes.
struct Wanted {
  Array<double> values, magnitudes;
};

class Products : public testing::TestWithParam<Case> {
 protected:
  explicit Products() : problem(GetParam().problem) {
    linear = problem.weight.rank() == 2;
    if (!linear) {
      problem.window.kernel_h = problem.weight.h();
      problem.window.kernel_w = problem.weight.w();
    }
    output = conv2d_output("test", {.source = as_image(problem.source),
                                    .weight = as_image(problem.weight),
                                    .window = problem.window});
  }

  // Array() reads a tensor's shape; a linear layer is a window of 1x1 on one pixel.
  static Array<double> array(const Tensor& tensor) {
    return Array<double>(tensor.view().reshaped(as_image(tensor.shape())));
  }

  // `share` of the magnitudes is what rounding of operands may change; sums add 1e-5 of the
  // largest.
  void expect_near(ConstTensorView found, const Wanted& wanted, double share,
                   const char* what) const {
    double largest = 1e-6;
    for (const double value : wanted.values.values) largest = std::max(largest, std::fabs(value));
    for (std::int64_t i = 0; i < found.elements(); ++i) {
      ASSERT_NEAR(found.data<float>()[i], wanted.values[i],
                  share * wanted.magnitudes[i] + 1e-5 * largest)
          << what << "[" << i << "]";
    }
  }

  void check_forward(double share) {
    const Operand x(problem.source, DType::kF32, 1, 0, "x");
    const Operand w(problem.weight, DType::kF32, 1, 0, "w");
    const Tensor b = normal({problem.weight.n()}, "b");
    const Array<double> bd(b.view());
    const Wanted wanted{
        sums::conv2d(array(x.reals), array(w.reals), problem.bias ? &bd : nullptr, problem.window),
        sums::conv2d<double>(magnitudes(array(x.reals)), magnitudes(array(w.reals)), nullptr,
                             problem.window)};
    TrainingProblem reals = problem;
    reals.source_dtype = reals.weight_dtype = DType::kF32;
    TrainingProduct product(reals, {});
    Tensor scratch = poisoned(product);
    Tensor y(DType::kF32, linear ? Shape{output.n(), output.c()} : output);
    product.forward(x.stored, w.stored, problem.bias ? b.view() : ConstTensorView(), y,
                    static_cast<std::byte*>(scratch.raw()));
    expect_near(y, wanted, share, "y");
  }

  void check_backward(double share) {
    check_backward(share, false);
    if (problem.weight_dtype != DType::kF32) check_backward(share, true);
  }

  void check_backward(double share, bool sloped) {
    const Operand x(problem.source, problem.source_dtype, 1, GetParam().zero_point, "x");
    const Operand w(problem.weight, problem.weight_dtype,
                    problem.weight_dtype == DType::kF32 ? 1 : problem.weight.n(), 0, "w");
    Tensor slope(DType::kF32, {problem.weight.n()});
    Tensor sloped_weight = w.reals.clone();
    const std::int64_t cols = sloped_weight.elements() / problem.weight.n();
    for (std::int64_t i = 0; i < sloped_weight.elements(); ++i) {
      float& of_channel = slope.data<float>()[i / cols];
      of_channel = 0.5F + 0.25F * static_cast<float>(i / cols % 7 - 4);  // some 0, some below
      if (sloped) sloped_weight.data<float>()[i] *= of_channel;
    }
    const Tensor dy = normal(linear ? Shape{output.n(), output.c()} : output, "dy");
    const auto gradients = [&](bool of_magnitudes, Array<double>* dx, Array<double>* dw,
                               Array<double>* db) {
      const auto maybe = [&](const Array<double>& of) {
        return of_magnitudes ? magnitudes(of) : of;
      };
      sums::conv2d_backward<double>(maybe(array(x.reals)), maybe(array(sloped_weight)),
                                    maybe(array(dy)), problem.window, dx, dw, db);
    };
    const auto zeros = [](const Shape& shape) {
      return Wanted{Array<double>(as_image(shape)), Array<double>(as_image(shape))};
    };
    Wanted dx = zeros(problem.source);
    Wanted dw = zeros(problem.weight);
    Wanted db{Array<double>(Shape{problem.weight.n()}), Array<double>(Shape{problem.weight.n()})};
    gradients(false, &dx.values, &dw.values, &db.values);
    gradients(true, &dx.magnitudes, &dw.magnitudes, &db.magnitudes);

    TrainingProduct product(problem, {.forward = false});
    Tensor scratch = poisoned(product);
    Tensor found_dx(DType::kF32, problem.source), found_dw(DType::kF32, problem.weight);
    Tensor found_db(DType::kF32, {problem.weight.n()});
    TrainingProduct::Backward call{.source = x.stored,
                                   .source_rows = x.format,
                                   .weight = w.stored,
                                   .weight_rows = w.format,
                                   .slope = sloped ? slope.data<float>() : nullptr,
                                   .gradient = dy,
                                   .weight_gradient = found_dw,
                                   .bias_gradient = problem.bias ? found_db.view() : TensorView(),
                                   .source_gradient = found_dx};
    product.backward(call, static_cast<std::byte*>(scratch.raw()));
    expect_near(found_dw, dw, share, "dw");
    expect_near(found_dx, dx, share, "dx");
    if (problem.bias) expect_near(found_db, db, share, "db");

    // One direction alone gives the same bits.
    Tensor alone(DType::kF32, problem.source);
    call.weight_gradient = TensorView();
    call.source_gradient = alone;
    product.backward(call, static_cast<std::byte*>(scratch.raw()));
    EXPECT_EQ(std::memcmp(alone.raw(), found_dx.raw(), alone.bytes()), 0);

    if (!sloped && product.reads_bf16_gradient()) {
      call.weight_gradient = found_dw;
      check_bf16_gradient(product, call, {&dx, &dw, &db}, share);
      call.weight_gradient = TensorView();
    }

    // A second one on top of it doubles it.
    if (!product.adds_source_gradient()) return;
    call.adds = true;
    product.backward(call, static_cast<std::byte*>(scratch.raw()));
    for (std::int64_t i = 0; i < alone.elements(); ++i) {
      ASSERT_EQ(alone.data<float>()[i], 2.0F * found_dx.data<float>()[i]) << i;
    }
  }

  struct AllWanted {
    const Wanted *dx, *dw, *db;
  };
  // The same with dy as bf16, times the scales of weights' codes, and dx in bf16 where it can be.
  void check_bf16_gradient(TrainingProduct& product, TrainingProduct::Backward call,
                           const AllWanted& wanted, double share) const {
    const std::int64_t outputs = problem.weight.n();
    Tensor gradient(DType::kBf16, call.gradient.shape());
    if (problem.weight_dtype != DType::kF32) call.gradient_factor = call.weight_rows.scale;
    reference::to_bf16(call.gradient.data<float>(), gradient.elements() / outputs, outputs,
                       call.gradient_factor, gradient.data<Bf16>());
    call.gradient = gradient;
    Tensor dx(DType::kBf16, problem.source), reals(DType::kF32, problem.source);
    const bool to_bf16 = product.writes_bf16_gradient();
    call.source_gradient = to_bf16 ? dx : reals;
    Tensor scratch = poisoned(product);
    product.backward(call, static_cast<std::byte*>(scratch.raw()));
    for (std::int64_t i = 0; to_bf16 && i < dx.elements(); ++i) {
      reals.data<float>()[i] = to_float(dx.data<Bf16>()[i]);
    }
    // Rounding dx adds half of the last of 8 bits; rounding dy, the bias' gradient too.
    expect_near(reals, *wanted.dx, share + (to_bf16 ? 0.51 / 256 : 0.0), "dx of bf16");
    expect_near(call.weight_gradient, *wanted.dw, share, "dw of bf16");
    if (problem.bias) expect_near(call.bias_gradient, *wanted.db, share, "db of bf16");
  }

  static Tensor poisoned(const TrainingProduct& product) {
    Tensor scratch(DType::kU8, {static_cast<std::int64_t>(product.scratch_bytes())});
    std::memset(scratch.raw(), 0xFF, scratch.bytes());
    return scratch;
  }

  TrainingProblem problem;
  bool linear = false;
  Shape output;
};

TEST_P(Products, InF32AgreeWithSumsInDouble) {
  problem.precision = Precision::kF32;
  check_forward(0.0);
  check_backward(0.0);
}

// bf16 rounds by at most 2^-8 of a number: both operands where they are reals, dy alone where the
// other is codes.
TEST_P(Products, InBf16AgreeWithinTheRoundingOfTheirOperands) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  problem.precision = Precision::kBf16;
  check_forward(2.02 / 256);
  check_backward((problem.source_dtype == DType::kF32 ? 2.02 : 1.01) / 256);
}

constexpr DType kU8 = DType::kU8;
constexpr DType kS8 = DType::kS8;
constexpr DType kF32 = DType::kF32;

const Case kCases[] = {
    {"three", {{2, 16, 8, 8}, kF32, {32, 16, 3, 3}, kF32, {.pad = 1}, true}},
    {"three_codes", {{2, 16, 8, 8}, kU8, {32, 16, 3, 3}, kS8, {.pad = 1}, true}},
    {"three_zero_point", {{2, 16, 8, 8}, kU8, {32, 16, 3, 3}, kS8, {.pad = 1}}, 119},
    {"three_signed", {{2, 16, 8, 8}, kS8, {32, 16, 3, 3}, kS8, {.pad = 1}}},
    {"winograd_codes", {{8, 16, 8, 8}, kU8, {32, 16, 3, 3}, kS8, {.pad = 1}, true}, 119},
    {"winograd", {{3, 32, 14, 14}, kF32, {16, 32, 3, 3}, kF32, {.pad = 1}, true}},
    {"winograd_five", {{4, 16, 14, 14}, kU8, {16, 16, 5, 5}, kS8, {.pad = 2}, true}},
    {"strided_codes", {{2, 16, 9, 9}, kU8, {32, 16, 3, 3}, kS8, {.stride = 2, .pad = 1}}},
    {"strided_odd_channels", {{2, 17, 9, 9}, kU8, {20, 17, 3, 3}, kS8, {.stride = 2, .pad = 1}}},
    {"wide_codes", {{1, 144, 4, 4}, kU8, {128, 144, 3, 3}, kS8, {.pad = 1}, true}},
    {"wide", {{1, 144, 4, 4}, kF32, {128, 144, 3, 3}, kF32, {.pad = 1}, true}},
    {"stem", {{2, 3, 8, 8}, kS8, {16, 3, 3, 3}, kS8, {.pad = 1}}},
    {"depthwise", {{2, 16, 8, 8}, kU8, {16, 1, 3, 3}, kS8, {.pad = 1, .groups = 16}}},
    {"depthwise_bias",
     {{3, 32, 7, 6}, kU8, {32, 1, 3, 3}, kS8, {.pad = 1, .groups = 32}, true},
     119},
    {"depthwise_signed", {{2, 16, 5, 9}, kS8, {16, 1, 3, 3}, kS8, {.groups = 16}}},
    {"depthwise_strided",
     {{2, 48, 8, 7}, kU8, {48, 1, 3, 3}, kS8, {.stride = 2, .pad = 1, .groups = 48}},
     7},
    {"depthwise_reals",
     {{2, 16, 8, 8}, kF32, {16, 1, 3, 3}, kF32, {.stride = 2, .pad = 2, .groups = 16}}},
    {"depthwise_pixel", {{3, 16, 1, 1}, kU8, {16, 1, 3, 3}, kS8, {.pad = 1, .groups = 16}}},
    {"linear", {{8, 40}, kF32, {10, 40}, kF32, {}, true}},
    {"linear_codes", {{8, 40}, kU8, {10, 40}, kS8, {}, true}},
};

INSTANTIATE_TEST_SUITE_P(Shapes, Products, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

std::string bf16_names(const Shape& source, const Shape& weight, const integer::Window& window) {
  return TrainingProduct({.source = source,
                          .source_dtype = DType::kU8,
                          .weight = weight,
                          .weight_dtype = DType::kS8,
                          .window = window,
                          .precision = Precision::kBf16},
                         {.forward = false})
      .implementation();
}

TEST(TrainingProduct, ChoosesBf16WhereItIsFaster) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  using testing::HasSubstr;
  using testing::Not;
  const char* const bf16 = effective_isa() == Isa::kAvx512Amx ? "amx" : "bf16";
  const auto expect_bf16 = [&](const std::string& names) {
    EXPECT_THAT(names, testing::ContainsRegex(cat("backward-data [^,]*", bf16)));
    EXPECT_THAT(names, testing::ContainsRegex(cat("backward-weights [^,]*", bf16)));
  };
  expect_bf16(bf16_names({8, 16, 32, 32}, {32, 16, 5, 5}, {.pad = 2}));
  expect_bf16(bf16_names({8, 16, 32, 32}, {32, 16, 1, 1}, {}));
  const std::string few = bf16_names({8, 16, 32, 32}, {16, 16, 3, 3}, {.pad = 1});
  EXPECT_THAT(few, testing::ContainsRegex(cat("backward-weights [^,]*", bf16)));
  const std::string wide = bf16_names({8, 512, 8, 8}, {512, 512, 3, 3}, {.pad = 1});
  if (effective_isa() == Isa::kAvx512Amx) {
    expect_bf16(few);
    expect_bf16(wide);
  } else {
    EXPECT_THAT(few, HasSubstr("backward-data winograd"));
    EXPECT_THAT(wide, Not(HasSubstr(bf16)));
  }
  EXPECT_THAT(bf16_names({2, 16, 8, 8}, {16, 1, 3, 3}, {.pad = 1, .groups = 16}),
              Not(HasSubstr(bf16)));
  const std::string stem = bf16_names({2, 3, 32, 32}, {16, 3, 3, 3}, {.pad = 1});
  EXPECT_THAT(stem, Not(testing::ContainsRegex(cat("backward-data [^,]*", bf16))));
  EXPECT_EQ(stem.find("backward-weights tiles") != std::string::npos,
            effective_isa() == Isa::kAvx512Amx)
      << stem;
}

TEST(Precision, WordsAndTheirErrors) {
  EXPECT_THAT(precision_words(), testing::ElementsAre("f32", "bf16"));
  EXPECT_EQ(usable_precision("f32"), Precision::kF32);
  EXPECT_ERROR(ConfigError, usable_precision("f16"), "train.precision", "f32 or bf16", "'f16'");
}

// Runs under the machine's own instructions, and in a child under a cap that has no bf16.
TEST(Precision, Bf16IsRefusedWithoutItsInstructions) {
  if (has_bf16(effective_isa())) {
    EXPECT_EQ(usable_precision("bf16"), Precision::kBf16);
    const ChildResult child = run_capped(Isa::kAvx512, "Precision.*");
    EXPECT_EQ(child.status, 0) << child.output;
  } else {
    EXPECT_ERROR(ConfigError, usable_precision("bf16"), "train.precision", "AVX512-BF16 or AMX",
                 "set train.precision = f32");
  }
}

}  // namespace
}  // namespace bitloom::kernels
