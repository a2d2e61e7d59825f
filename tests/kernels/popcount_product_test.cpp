// The kernels are built for VPOPCNTDQ too, if Highway is asked.
#define HWY_WANT_AVX3_DL
#include "bitloom/kernels/popcount_product.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <ostream>
#include <string>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/integer/requantize.h"
#include "bitloom/kernels/int8_product.h"
#include "bitloom/kernels/sign_bits.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

using integer::Grid;

struct Case {
  std::string name;
  PopcountProblem problem;
};

PopcountProblem convolution(std::int64_t channels, std::int64_t outputs, std::int64_t kernel,
                            std::int64_t stride, std::int64_t pad, std::int64_t groups = 1,
                            Grid source = Grid::kBinary, Grid weight = Grid::kBinary) {
  return {
      .source = {2, channels, 7, 6},
      .source_grid = source,
      .weight = {outputs, channels / groups, kernel, kernel},
      .weight_grid = weight,
      .window = {
          .kernel_h = kernel, .kernel_w = kernel, .stride = stride, .pad = pad, .groups = groups}};
}

void PrintTo(const Case& c, std::ostream* out) { *out << c.name; }

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Grid source : {Grid::kBinary, Grid::kTernary}) {
    for (const Grid weight : {Grid::kBinary, Grid::kTernary}) {
      const std::string grids = cat(to_word(source), "_", to_word(weight), "_");
      const auto add = [&](const std::string& name, const PopcountProblem& problem) {
        all.push_back({grids + name, problem});
      };
      for (const std::int64_t c : {1, 3, 16, 17, 63, 64, 65, 127, 128, 130}) {
        add(cat("c", c), convolution(c, c == 1 ? 1 : 35, 3, 1, 1, 1, source, weight));
      }
      // Two taps a word, an even number of them in a row or one alone.
      add("pairs_four", convolution(16, 16, 4, 1, 1, 1, source, weight));
      add("pairs_stride", convolution(9, 40, 2, 2, 1, 1, source, weight));
      add("pairs_groups", convolution(32, 32, 3, 2, 1, 2, source, weight));
      add("one", convolution(33, 16, 1, 1, 0, 1, source, weight));
      add("one_stride", convolution(64, 48, 1, 2, 0, 1, source, weight));
      add("one_pad", convolution(40, 64, 1, 1, 2, 1, source, weight));
      add("three_stride", convolution(96, 130, 3, 2, 1, 1, source, weight));
      add("three_inside", convolution(32, 80, 3, 1, 0, 1, source, weight));
      add("three_wide_pad", convolution(20, 17, 3, 1, 2, 1, source, weight));
      add("five", convolution(65, 33, 5, 2, 2, 1, source, weight));
      add("five_pad", convolution(3, 64, 5, 1, 1, 1, source, weight));
      add("groups", convolution(66, 64, 3, 1, 1, 2, source, weight));
      add("whole_groups", convolution(128, 96, 3, 2, 1, 2, source, weight));
      add("depthwise", convolution(5, 5, 3, 1, 1, 5, source, weight));
      // 34 * 25 words a sum: bytes and trees of counts overflow unless they are emptied.
      add("deep", {.source = {1, 1088, 5, 5},
                   .source_grid = source,
                   .weight = {19, 1088, 5, 5},
                   .weight_grid = weight,
                   .window = {.kernel_h = 5, .kernel_w = 5, .pad = 1}});
      add("linear", {.source = {9, 131},
                     .source_grid = source,
                     .weight = {70, 131},
                     .weight_grid = weight,
                     .window = {}});
      add("linear_map", {.source = {3, 33, 3, 2},
                         .source_grid = source,
                         .weight = {20, 198},
                         .weight_grid = weight,
                         .window = {}});
    }
  }
  return all;
}

Tensor codes_of(const Shape& shape, Grid grid, const char* name) {
  const RandomStream random(5, name);
  Tensor codes(DType::kS8, shape);
  std::uint64_t i = 0;
  for (std::int8_t& code : codes.span<std::int8_t>()) {
    const auto drawn = static_cast<int>(random.below(i++, grid == Grid::kBinary ? 2 : 3));
    code = static_cast<std::int8_t>(grid == Grid::kBinary ? 2 * drawn - 1 : drawn - 1);
  }
  return codes;
}

Tensor scales_of(std::int64_t count, const char* name, float scale) {
  const RandomStream random(6, name);
  Tensor values(DType::kF32, Shape{count});
  std::uint64_t i = 0;
  for (float& value : values.span<float>()) value = scale * random.normal(i++);
  return values;
}

// One problem with its operands and what the reference makes of them.
struct Operands {
  explicit Operands(const PopcountProblem& p)
      : problem(p),
        source(codes_of(p.source, p.source_grid, "source")),
        weight(codes_of(p.weight, p.weight_grid, "weight")),
        multiplier(scales_of(p.weight.n(), "m", 0.02F)),
        bias(scales_of(p.weight.n(), "b", 0.05F)),
        product(p),
        acc(static_cast<std::size_t>(product.destination().elements())),
        scratch(DType::kU8, Shape{static_cast<std::int64_t>(product.scratch_bytes())}) {
    reference::popcount_sums(problem, source, weight, acc.data());
    if (multiplier.elements() > 2) multiplier.data<float>()[2] = 0.0F;
    if (multiplier.elements() > 1) {  // ties: t is exactly 0 where acc is -2 or 2
      multiplier.data<float>()[0] = 0.5F;
      bias.data<float>()[0] = 1.0F;
      multiplier.data<float>()[1] = -0.5F;
      bias.data<float>()[1] = 1.0F;
    }
  }

  std::span<std::byte> memory() {
    return {static_cast<std::byte*>(scratch.raw()), scratch.bytes()};
  }
  std::int64_t outputs() const { return problem.weight.n(); }
  float scaled(std::size_t i) const {
    const auto o = static_cast<std::int64_t>(i) % outputs();
    return integer::scale_accumulator(acc[i], multiplier.data<float>()[o], bias.data<float>()[o]);
  }

  PopcountProblem problem;
  Tensor source, weight, multiplier, bias;
  PopcountProduct product;
  std::vector<std::int32_t> acc;
  Tensor scratch;
};

void expect_sums(Operands& x) {
  x.product.set_weights(x.weight);
  std::vector<std::int32_t> found(x.acc.size(), 77);
  x.product.run_sums({.codes = x.source.data<std::int8_t>()}, found.data(), x.memory());
  EXPECT_EQ(found, x.acc);
  std::vector<Bf16> halves(x.acc.size(), Bf16{7});
  x.product.run_sums({.codes = x.source.data<std::int8_t>()}, halves.data(), x.memory());
  for (std::size_t i = 0; i < halves.size(); ++i) {
    const auto bits = std::bit_cast<std::uint32_t>(static_cast<float>(x.acc[i]));
    ASSERT_EQ(halves[i].bits, bits >> 16U) << x.acc[i];
  }
  if (x.problem.source_grid != Grid::kBinary) return;
  const Shape& shape = x.problem.source;
  const BitRows rows{shape.elements() / shape.c(), shape.c()};
  std::vector<std::uint32_t> bits(
      static_cast<std::size_t>(rows.pixels * sign_words(rows.channels)));
  pack_codes(x.source.data<std::int8_t>(), rows, bits.data(), nullptr);
  std::fill(found.begin(), found.end(), 78);
  x.product.run_sums({.bits = bits.data()}, found.data(), x.memory());
  EXPECT_EQ(found, x.acc);
}

void expect_reals(Operands& x) {
  x.product.set_weights(x.weight);
  x.product.set_scales(x.multiplier, x.bias);
  std::vector<float> expected, found(x.acc.size());
  for (std::size_t i = 0; i < x.acc.size(); ++i) expected.push_back(x.scaled(i));
  x.product.run_reals({.codes = x.source.data<std::int8_t>()}, {.out = found.data()}, x.memory());
  EXPECT_EQ(found, expected);

  const Tensor residual = scales_of(static_cast<std::int64_t>(found.size()), "residual", 1.0F);
  const Tensor map = scales_of(static_cast<std::int64_t>(found.size()) / x.outputs(), "map", 1.0F);
  const integer::Clip clip{.low = -0.5F, .high = 1.0F};
  for (std::size_t i = 0; i < found.size(); ++i) {
    const auto o = static_cast<std::int64_t>(i) % x.outputs();
    float t = static_cast<float>(x.acc[i]) * x.multiplier.data<float>()[o];
    t = t + x.bias.data<float>()[o];
    t = t * map.data<float>()[static_cast<std::int64_t>(i) / x.outputs()];
    t = t + residual.data<float>()[i];
    expected[i] = integer::clipped(t, clip);
    found[i] = residual.data<float>()[i];  // the residual's own memory
  }
  x.product.run_reals(
      {.codes = x.source.data<std::int8_t>()},
      {.out = found.data(), .map = map.data<float>(), .residual = found.data(), .clip = clip},
      x.memory());
  EXPECT_EQ(found, expected);

  for (std::size_t i = 0; i < found.size(); ++i) {
    found[i] = residual.data<float>()[i];
    expected[i] = x.scaled(i) + found[i];
  }
  x.product.run_reals({.codes = x.source.data<std::int8_t>()},
                      {.out = found.data(), .residual = found.data()}, x.memory());
  EXPECT_EQ(found, expected);
}

void expect_signs(Operands& x) {
  if (!x.product.writes_signs()) return;
  const BitRows rows{static_cast<std::int64_t>(x.acc.size()) / x.outputs(), x.outputs()};
  std::vector<std::uint32_t> expected(
      static_cast<std::size_t>(rows.pixels * sign_words(x.outputs())));
  std::vector<float> t;
  for (std::size_t i = 0; i < x.acc.size(); ++i) t.push_back(x.scaled(i));
  pack_signs(t.data(), rows, nullptr, nullptr, expected.data());
  x.product.set_sign_weights(x.weight, x.multiplier, x.bias, {-1, 1});
  std::vector<std::uint32_t> found(expected.size(), ~0U);
  x.product.run_signs({.codes = x.source.data<std::int8_t>()}, found.data(), x.memory());
  EXPECT_EQ(found, expected);

  x.product.set_sign_weights(x.weight, x.multiplier, x.bias, {1, 1});  // a ReLU before the sign
  x.product.run_signs({.codes = x.source.data<std::int8_t>()}, found.data(), x.memory());
  EXPECT_EQ(found, std::vector<std::uint32_t>(found.size(), 0U));
}

class PopcountProductCases : public testing::TestWithParam<Case> {};

TEST_P(PopcountProductCases, SumsRealsAndSignsEqualTheReferenceOnEveryTarget) {
  Operands operands(GetParam().problem);
  const int targets = for_each_highway_target([&] {
    expect_sums(operands);
    expect_reals(operands);
    expect_signs(operands);
  });
  EXPECT_GE(targets, 1);
}

INSTANTIATE_TEST_SUITE_P(Grids, PopcountProductCases, testing::ValuesIn(cases()),
                         [](const auto& param) { return param.param.name; });

TEST(PopcountProduct, IsTheSameForOneAndTwoThreads) {
  const int before = threads();
  for (const int count : {1, 2}) {
    set_threads(count);
    Operands operands(convolution(128, 256, 3, 1, 1));
    expect_sums(operands);
    expect_reals(operands);
    expect_signs(operands);
  }
  set_threads(before);
}

// What training puts in each other's place.
TEST(PopcountProduct, GivesTheBitsOfInt8Kernels) {
  if (!has_exact_u8s8(effective_isa())) GTEST_SKIP() << "signed int8 products lose a bit here";
  for (const Grid grid : {Grid::kBinary, Grid::kTernary}) {
    Operands x(convolution(65, 40, 3, 2, 1, 1, grid, grid));
    Int8Product int8({.source = x.problem.source,
                      .source_dtype = DType::kS8,
                      .weight = x.problem.weight,
                      .window = x.problem.window,
                      .destination_dtype = DType::kF32});
    int8.set_weights(x.weight);
    int8.set_scales(x.multiplier, x.bias);
    Tensor expected(DType::kF32, int8.destination());
    int8.run(x.source, {}, expected);
    Tensor found(DType::kF32, int8.destination());
    x.product.set_weights(x.weight);
    x.product.set_scales(x.multiplier, x.bias);
    x.product.run_reals({.codes = x.source.data<std::int8_t>()}, {.out = found.data<float>()},
                        x.memory());
    EXPECT_EQ(std::memcmp(found.raw(), expected.raw(), found.bytes()), 0);
  }
}

// A step of training packs new weights over the old ones.
TEST(PopcountProduct, PacksWeightsAnew) {
  Operands x(convolution(65, 40, 3, 1, 1));
  Operands other(convolution(65, 40, 3, 1, 1));
  for (std::int8_t& code : other.weight.span<std::int8_t>()) code = static_cast<std::int8_t>(-code);
  x.product.set_weights(other.weight);
  expect_sums(x);
}

TEST(PopcountProduct, BeatsInt8ButForFewChannels) {
  if (effective_isa() == Isa::kAvx512Amx) {
    EXPECT_FALSE(popcount_beats_int8(convolution(256, 64, 3, 1, 1)));
    return;
  }
  EXPECT_TRUE(popcount_beats_int8(convolution(256, 64, 3, 1, 1)));
  EXPECT_TRUE(popcount_beats_int8(convolution(64, 64, 3, 1, 1)));
  EXPECT_EQ(popcount_beats_int8(convolution(4, 4, 3, 1, 1)), !has_exact_u8s8(effective_isa()));
}

TEST(PopcountProduct, TakesAnEighthOfTheBytesOfInt8Weights) {
  PopcountProduct product(convolution(256, 256, 3, 1, 1));
  product.set_weights(codes_of({256, 256, 3, 3}, Grid::kBinary, "weight"));
  EXPECT_LT(product.memory_bytes(), std::size_t{256 * 256 * 9 / 8} * 5 / 4);
  EXPECT_EQ(product.implementation(), "popcount:" + popcount_target());
}

TEST(PopcountProduct, RefusesMoreKindsOfBordersThanItHasTables) {
  PopcountProblem problem = convolution(1, 1, 3, 1, 1);
  problem.source = {1, 1, 300, 300};
  problem.weight = {1, 1, 300, 300};
  problem.window = {.kernel_h = 300, .kernel_w = 300, .pad = 200};
  EXPECT_THROW(PopcountProduct{problem}, BackendError);
}

}  // namespace
}  // namespace bitloom::kernels
