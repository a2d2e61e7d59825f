#include "bitloom/kernels/pool_codes.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/kernels/f32_pool.h"
#include "support/highway_targets.h"
#include "support/reference_ops.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

struct PoolCase {
  const char* name;
  Shape source;
  integer::Window window;
  int levels;  ///< few levels make many ties
};

void PrintTo(const PoolCase& what, std::ostream* out) { *out << what.name; }

template <typename Code>
Tensor random_codes(const Shape& shape, int levels, int lowest) {
  Tensor tensor(kDTypeOf<Code>, shape);
  const RandomStream random(9, "codes");
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    tensor.data<Code>()[i] = static_cast<Code>(
        lowest + static_cast<int>(random.below(static_cast<std::uint64_t>(i),
                                               static_cast<std::uint32_t>(levels))));
  }
  return tensor;
}

bitloom::reference::Array<double> reals(ConstTensorView codes) {
  bitloom::reference::Array<double> out(codes.shape());
  for (std::int64_t i = 0; i < codes.elements(); ++i) out[i] = element(codes, i);
  return out;
}

class MaxPoolCodes : public testing::TestWithParam<PoolCase> {
 protected:
  // Codes and gradients must equal the reference exactly: gradients are small integers here.
  template <typename Code>
  void check(int lowest) {
    const PoolCase& one = GetParam();
    const Tensor codes = random_codes<Code>(one.source, one.levels, lowest);
    const bitloom::reference::MaxPooled<double> wanted =
        bitloom::reference::max_pool(reals(codes), one.window);
    const Shape& out = wanted.y.shape;
    ASSERT_EQ(out, pool_output("pool", one.source, one.window));
    Tensor pooled(kDTypeOf<Code>, out), bare(kDTypeOf<Code>, out);
    std::vector<std::uint8_t> argmax(static_cast<std::size_t>(out.elements()), 255);
    max_pool_codes(codes, one.window, pooled, argmax.data());
    max_pool_codes(codes, one.window, bare, nullptr);
    EXPECT_THAT(bare, TensorEq(pooled));
    Tensor dy(DType::kF32, out), dx(DType::kF32, one.source);
    std::vector<float> expected(static_cast<std::size_t>(dx.elements()), 0.0F);
    for (std::int64_t i = 0; i < out.elements(); ++i) {
      ASSERT_EQ(element(pooled, i), wanted.y[i]) << i;
      dy.data<float>()[i] = static_cast<float>(i % 17 - 8);
      expected[static_cast<std::size_t>(wanted.from[static_cast<std::size_t>(i)])] +=
          dy.data<float>()[i];
    }
    for (float& value : dx.span<float>()) value = NAN;
    max_pool_gradient(dy, {}, one.window, argmax.data(), dx);
    EXPECT_THAT(dx, TensorEq(make_tensor<float>(one.source, expected)));
    check_bf16(dy, argmax.data(), expected);
  }

  // Small integers are the same in bf16, read and written; a sum of many is rounded once.
  void check_bf16(const Tensor& dy, const std::uint8_t* argmax,
                  const std::vector<float>& expected) {
    Tensor rounded(DType::kBf16, dy.shape());
    reference::to_bf16(dy.data<float>(), 1, dy.elements(), nullptr, rounded.data<Bf16>());
    Tensor dx(DType::kBf16, GetParam().source);
    max_pool_gradient(rounded, {}, GetParam().window, argmax, dx);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(dx.data<Bf16>()[i].bits, round_to_bf16(expected[i]).bits) << i;
    }
    max_pool_gradient(rounded, rounded, GetParam().window, argmax, dx);
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(dx.data<Bf16>()[i].bits, round_to_bf16(2.0F * expected[i]).bits) << i;
    }
  }
};

TEST_P(MaxPoolCodes, AgreesWithReference) {
  check<std::uint8_t>(0);
  check<std::int8_t>(-GetParam().levels / 2);
}

const PoolCase kPoolCases[] = {
    {"lenet_2x2", {3, 32, 8, 8}, {.kernel_h = 2, .kernel_w = 2, .stride = 2}, 256},
    {"two_levels", {2, 65, 7, 6}, {.kernel_h = 2, .kernel_w = 2, .stride = 2}, 2},
    {"overlap_padded", {2, 5, 7, 9}, {.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1}, 4},
    {"gaps", {1, 3, 11, 10}, {.kernel_h = 2, .kernel_w = 2, .stride = 3}, 16},
    {"stride_1", {2, 17, 4, 5}, {.kernel_h = 3, .kernel_w = 2, .stride = 1, .pad = 1}, 3},
    {"one_pixel", {1, 1, 1, 1}, {}, 256},
    {"widest", {1, 2, 17, 17}, {.kernel_h = 16, .kernel_w = 16, .stride = 1}, 256},
};

INSTANTIATE_TEST_SUITE_P(Windows, MaxPoolCodes, testing::ValuesIn(kPoolCases),
                         [](const auto& one) { return std::string(one.param.name); });

// Odd channels; windows that overhang every border, of which some have one pixel.
const PoolCase kAvgPoolCases[] = {
    {"same_3x3", {2, 65, 7, 6}, {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1}, 256},
    {"stride_2", {1, 63, 9, 8}, {.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1}, 4},
    {"ties_2x2", {3, 3, 8, 8}, {.kernel_h = 2, .kernel_w = 2, .stride = 2}, 4},
    {"one_channel", {2, 1, 5, 7}, {.kernel_h = 4, .kernel_w = 2, .stride = 1, .pad = 1}, 2},
    {"wide_pad", {1, 130, 5, 5}, {.kernel_h = 4, .kernel_w = 4, .stride = 3, .pad = 2}, 256},
    {"one_pixel", {1, 1, 1, 1}, {}, 256},
    {"counted_3x3",
     {2, 65, 7, 6},
     {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1, .count_pad = true},
     256},
    {"counted_stride_2",
     {1, 5, 9, 8},
     {.kernel_h = 4, .kernel_w = 4, .stride = 2, .pad = 2, .count_pad = true},
     8},
};

class AvgPoolCodes : public testing::TestWithParam<PoolCase> {
 protected:
  // Sums of a few codes and their quotient by a count below 17 are exact in double wherever they
  // tie, so nearbyint decides each tie as the integers must.
  template <typename Code>
  void check(int lowest) {
    const PoolCase& one = GetParam();
    const Tensor codes = random_codes<Code>(one.source, one.levels, lowest);
    const Shape out = pool_output("pool", one.source, one.window);
    const bitloom::reference::Array<double> wanted =
        bitloom::reference::avg_pool(reals(codes), one.window);
    Tensor pooled(kDTypeOf<Code>, out);
    avg_pool_codes(codes, one.window, pooled);
    for (std::int64_t i = 0; i < out.elements(); ++i) {
      ASSERT_EQ(element(pooled, i), std::nearbyint(wanted[i])) << i;
    }
  }
};

TEST_P(AvgPoolCodes, AgreesWithReference) {
  check<std::uint8_t>(0);
  check<std::int8_t>(-GetParam().levels / 2);
}

INSTANTIATE_TEST_SUITE_P(Windows, AvgPoolCodes, testing::ValuesIn(kAvgPoolCases),
                         [](const auto& one) { return std::string(one.param.name); });

// A corner of 3x3 holds four pixels of code 12 and five of padding: (48 + 5 * 3) / 9 = 7.
TEST(CountedAverages, AddTheZeroPointForPadding) {
  Tensor codes(DType::kU8, {1, 1, 3, 3}), out(DType::kU8, {1, 1, 3, 3});
  std::ranges::fill(codes.span<std::uint8_t>(), std::uint8_t{12});
  avg_pool_codes(codes, {.kernel_h = 3, .kernel_w = 3, .pad = 1, .count_pad = true}, out, 3);
  EXPECT_EQ(out.data<std::uint8_t>()[0], 7);
  EXPECT_EQ(out.data<std::uint8_t>()[4], 12);
}

// Every sum of so many codes: channel c sums up to c. Ties of even counts are among them.
template <typename Code>
void check_every_sum(std::int64_t count, int lowest) {
  const std::int64_t channels = 255 * count + 1;
  Tensor codes(kDTypeOf<Code>, Shape{1, channels, 1, count});
  for (std::int64_t c = 0; c < channels; ++c) {
    for (std::int64_t i = 0; i < count; ++i) {
      const std::int64_t code = c / count + (i < c % count ? 1 : 0) + lowest;
      codes.data<Code>()[i * channels + c] = static_cast<Code>(code);
    }
  }
  Tensor out(kDTypeOf<Code>, Shape{1, channels, 1, 1});
  avg_pool_codes(codes, {.kernel_h = 1, .kernel_w = count}, out);
  std::int64_t wrong = 0;
  for (std::int64_t c = 0; c < channels; ++c) {
    const std::int64_t twice = 2 * (c % count);
    const std::int64_t floor = c / count;
    const bool up = twice > count || (twice == count && floor % 2 != 0);
    wrong += out.data<Code>()[c] != static_cast<Code>(floor + (up ? 1 : 0) + lowest);
  }
  EXPECT_EQ(wrong, 0) << "of " << channels << " sums of " << count;
}

TEST(AvgPoolSums, RoundsEverySumHalfToEvenOnEveryTarget) {
  for_each_highway_target([] {
    for (const std::int64_t count : {1, 2, 3, 4, 6, 7, 9, 12, 49, 64, 100, 256}) {
      check_every_sum<std::uint8_t>(count, 0);
      check_every_sum<std::int8_t>(count, -128);
    }
  });
}

// The window of a global average.
integer::Window whole(const Shape& source) {
  return {.kernel_h = source.h(), .kernel_w = source.w()};
}

// 2x2 images. u8: 1+2+3+4 = 10 / 4 = 2.5 -> 2; 3.5 -> 4; 2.75 -> 3; 255. s8: -2.5 -> -2;
// -3.5 -> -4; -0.25 -> 0; -128.
TEST(GlobalAvgPoolCodes, RoundsHalfToEven) {
  const Tensor u8 = from_nchw<std::uint8_t>(
      {1, 4, 2, 2}, {1, 2, 3, 4, 2, 3, 4, 5, 3, 3, 3, 2, 255, 255, 255, 255});
  Tensor out_u8(DType::kU8, {1, 4, 1, 1});
  avg_pool_codes(u8, whole(u8.shape()), out_u8);
  EXPECT_THAT(out_u8, TensorEq(from_nchw<std::uint8_t>({1, 4, 1, 1}, {2, 4, 3, 255})));
  const Tensor s8 = from_nchw<std::int8_t>(
      {1, 4, 2, 2}, {-1, -2, -3, -4, -2, -3, -4, -5, 0, 0, 0, -1, -128, -128, -128, -128});
  Tensor out_s8(DType::kS8, {1, 4, 1, 1});
  avg_pool_codes(s8, whole(s8.shape()), out_s8);
  EXPECT_THAT(out_s8, TensorEq(from_nchw<std::int8_t>({1, 4, 1, 1}, {-2, -4, 0, -128})));
}

// 130 channels: more than two blocks of sums; 49 pixels: never a tie, so nearbyint is exact.
TEST(GlobalAvgPoolCodes, AgreesWithDoubleReference) {
  const Tensor codes = random_codes<std::uint8_t>({3, 130, 7, 7}, 256, 0);
  const bitloom::reference::Array<double> wanted =
      bitloom::reference::avg_pool(reals(codes), whole(codes.shape()));
  Tensor out(DType::kU8, {3, 130, 1, 1});
  avg_pool_codes(codes, whole(codes.shape()), out);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    ASSERT_EQ(element(out, i), std::nearbyint(wanted[i])) << i;
  }
}

}  // namespace
}  // namespace bitloom::kernels
