// Averages and sums of bf16 numbers against the same formulas in double.
#include "bitloom/kernels/bf16_inference.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/random.h"
#include "bitloom/kernels/bf16_convert.h"

namespace bitloom::kernels {
namespace {

Tensor random_bf16(const Shape& shape, const char* name) {
  const RandomStream random(3, name);
  Tensor out(DType::kBf16, shape);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    out.data<Bf16>()[i] = round_to_bf16(random.normal(static_cast<std::uint64_t>(i)));
  }
  return out;
}

float value(ConstTensorView tensor, std::int64_t i) {
  return tensor.dtype() == DType::kBf16 ? to_float(tensor.data<Bf16>()[i])
                                        : tensor.data<float>()[i];
}

/// Mean over one window, by the definition.
double mean(const integer::Window& window, ConstTensorView x, const Shape& out, std::int64_t i) {
  const Shape& in = x.shape();
  const std::int64_t c = i % in.c();
  const std::int64_t pixel = i / in.c();
  const std::int64_t n = pixel / (out.h() * out.w());
  double sum = 0.0;
  int count = 0;
  for (std::int64_t ky = 0; ky < window.kernel_h; ++ky) {
    for (std::int64_t kx = 0; kx < window.kernel_w; ++kx) {
      const std::int64_t y = pixel / out.w() % out.h() * window.stride - window.pad_h() + ky;
      const std::int64_t col = pixel % out.w() * window.stride - window.pad_w() + kx;
      const bool inside = y >= 0 && y < in.h() && col >= 0 && col < in.w();
      if (inside) {
        sum += static_cast<double>(value(x, ((n * in.h() + y) * in.w() + col) * in.c() + c));
      }
      count += inside || window.count_pad ? 1 : 0;
    }
  }
  return sum / count;
}

TEST(AverageBf16, EqualsTheMeanRoundedOnce) {
  int compared = 0;
  for (const std::int64_t channels : {1, 5, 64, 300}) {
    for (const bool count_pad : {false, true}) {
      const integer::Window window{
          .kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1, .count_pad = count_pad};
      const Shape in{2, channels, 7, 6};
      const Shape out{2, channels, 4, 3};
      const Tensor x = random_bf16(in, "x");
      for (const DType dtype : {DType::kBf16, DType::kF32}) {
        Tensor y(dtype, out);
        average_bf16(window, x, y);
        for (std::int64_t i = 0; i < y.elements(); ++i) {
          const double expected = mean(window, x, out, i);
          const double unit = dtype == DType::kBf16 ? std::ldexp(1.0, -8) : 1e-6;
          ASSERT_NEAR(value(y, i), expected, unit * std::abs(expected) + 1e-6) << i;
          ++compared;
        }
      }
    }
  }
  EXPECT_EQ(compared, 4 * 12 * 2 * (1 + 5 + 64 + 300));
}

TEST(AverageBf16, TakesTheWholeMapToAFlatTensor) {
  const Tensor x = random_bf16({2, 9, 5, 5}, "x");
  Tensor y(DType::kF32, Shape{2, 9});
  const integer::Window window{.kernel_h = 5, .kernel_w = 5};
  average_bf16(window, x, y);
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    EXPECT_NEAR(value(y, i), mean(window, x, Shape{2, 9, 1, 1}, i), 1e-6);
  }
}

TEST(AddBf16, ClipsTheSumAndRoundsItOnceAlsoInPlace) {
  const integer::Clip clip{.low = -0.5F, .high = 1.0F};
  for (const std::int64_t channels : {1, 7, 513}) {
    const Shape shape{1, channels, 3, 1};
    Tensor a = random_bf16(shape, "a");
    const Tensor b = random_bf16(shape, "b");
    Tensor real(DType::kF32, shape);
    add_bf16(a, b, clip, real);
    int clipped = 0;
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      const float sum = value(a, i) + value(b, i);
      EXPECT_EQ(value(real, i), integer::clipped(sum, clip));
      clipped += sum < clip.low || sum > clip.high ? 1 : 0;
    }
    EXPECT_TRUE(channels < 7 || clipped > 0);
    add_bf16(a, b, clip, a);
    for (std::int64_t i = 0; i < shape.elements(); ++i) {
      EXPECT_EQ(a.data<Bf16>()[i].bits, round_to_bf16(value(real, i)).bits);
    }
  }
}

}  // namespace
}  // namespace bitloom::kernels
