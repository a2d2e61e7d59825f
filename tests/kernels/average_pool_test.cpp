// Means of windows and their gradient against double references, on every CPU target.
#include "bitloom/kernels/average_pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/core/random.h"
#include "bitloom/core/tensor.h"
#include "bitloom/kernels/f32_pool.h"
#include "support/highway_targets.h"
#include "support/reference_ops.h"

namespace bitloom::kernels {
namespace {

struct PoolCase {
  Shape source;
  integer::Window window;
  std::int64_t repeat;
};

// Odd channels; windows that overhang every border, leave pixels out, or are the whole image.
const PoolCase kCases[] = {
    {{2, 65, 7, 6}, {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1}, 1},
    {{3, 16, 9, 8}, {.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1}, 2},
    {{1, 37, 9, 8}, {.kernel_h = 4, .kernel_w = 2, .stride = 2, .pad = 1, .count_pad = true}, 3},
    {{2, 3, 11, 10}, {.kernel_h = 2, .kernel_w = 2, .stride = 3}, 2},
    {{2, 5, 6, 4}, {.kernel_h = 6, .kernel_w = 4}, 1},
    {{1, 1, 1, 1}, {}, 1},
};

Tensor normals(const Shape& shape, std::uint64_t stream) {
  const RandomStream random(5, stream);
  Tensor values(DType::kF32, shape);
  std::uint64_t i = 0;
  for (float& value : values.span<float>()) value = random.normal(i++);
  return values;
}

void expect_forward(const PoolCase& one, const AveragePool& pool, const Shape& out) {
  const Tensor x = normals(one.source, 1);
  const bitloom::reference::Array<double> wanted =
      bitloom::reference::avg_pool(bitloom::reference::Array<double>(x), one.window);
  Tensor y(DType::kF32, {out.n(), one.repeat * out.c(), out.h(), out.w()});
  pool.forward(x.data<float>(), y.data<float>());
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    const std::int64_t row = i / y.shape().c();
    const std::int64_t channel = i % out.c();
    ASSERT_NEAR(static_cast<double>(y.data<float>()[i]), wanted[row * out.c() + channel], 1e-6);
  }
}

// Two terms in bf16 count as their sum; what is written in bf16 is what f32 rounds to.
void expect_backward(const PoolCase& one, const AveragePool& pool, const Shape& out) {
  const Shape wide{out.n(), one.repeat * out.c(), out.h(), out.w()};
  Tensor first = normals(wide, 2), second = normals(wide, 3);
  std::vector<Bf16> first_half, second_half;
  bitloom::reference::Array<double> dy(out), wanted(one.source);
  for (std::int64_t i = 0; i < wide.elements(); ++i) {
    first_half.push_back(round_to_bf16(first.data<float>()[i]));
    second_half.push_back(round_to_bf16(second.data<float>()[i]));
    first.data<float>()[i] = to_float(first_half.back()) + to_float(second_half.back());
    dy[i / wide.c() * out.c() + i % out.c()] += static_cast<double>(first.data<float>()[i]);
  }
  bitloom::reference::avg_pool_backward(dy, one.window, wanted);
  const auto count = static_cast<std::size_t>(one.source.elements());
  std::vector<float> dx(count, NAN), dx_of_terms(count, NAN);
  std::vector<Bf16> halves(count);
  std::vector<std::byte> scratch(pool.scratch_bytes());
  const OutputGradient terms{first_half.data(), second_half.data(), DType::kBf16};
  pool.backward({first.raw()}, {dx.data()}, scratch.data());
  pool.backward(terms, {dx_of_terms.data()}, scratch.data());
  pool.backward(terms, {halves.data(), DType::kBf16}, scratch.data());
  EXPECT_EQ(dx, dx_of_terms);
  for (std::size_t i = 0; i < count; ++i) {
    ASSERT_NEAR(static_cast<double>(dx[i]), wanted[static_cast<std::int64_t>(i)], 1e-5);
    ASSERT_EQ(halves[i].bits, round_to_bf16(dx[i]).bits);
  }
}

TEST(AveragePool, AgreesWithDoublesOnEveryTarget) {
  for_each_highway_target([&] {
    for (const PoolCase& one : kCases) {
      SCOPED_TRACE(to_string(one.source));
      const AveragePool pool(one.source, one.window, one.repeat);
      const Shape out = pool_output("pool", one.source, one.window);
      expect_forward(one, pool, out);
      expect_backward(one, pool, out);
    }
  });
}

}  // namespace
}  // namespace bitloom::kernels
