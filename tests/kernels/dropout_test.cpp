#include "bitloom/kernels/dropout.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/parallel.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

DropoutMask mask_of(float ratio, std::uint64_t step) {
  return {.random = RandomStream(3, "dropout"), .step = step, .ratio = ratio};
}

Tensor ones(std::int64_t count) {
  Tensor tensor(DType::kF32, {count});
  for (float& value : tensor.span<float>()) value = 1.0F;
  return tensor;
}

// 63, 64 and 65 elements end inside and at the end of a block of four; 9001 make two pieces.
TEST(Dropout, MaskIsThatOfTheStream) {
  const RandomStream random(3, "dropout");
  for (const std::int64_t count : {0L, 1L, 63L, 64L, 65L, 9001L}) {
    for (const std::uint64_t step : {0UL, 1UL, 16777215UL}) {
      const Tensor x = ones(count);
      Tensor y = like(x);
      drop_reals(x, mask_of(0.25F, step), y);
      for (std::int64_t i = 0; i < count; ++i) {
        const auto number = (step << 34U) + static_cast<std::uint64_t>(i);
        ASSERT_EQ(y.data<float>()[i], random.uniform(number) >= 0.25F ? 1.0F / 0.75F : 0.0F) << i;
      }
    }
  }
}

// A share's deviation is sqrt(r (1 - r) / n) <= 0.0016; five of them are 0.008.
TEST(Dropout, DropsItsShareAndKeepsTheMean) {
  const Tensor x = ones(100000);
  for (const float ratio : {0.0F, 0.1F, 0.5F, 0.9F}) {
    Tensor y = like(x);
    drop_reals(x, mask_of(ratio, 7), y);
    double sum = 0.0, dropped = 0.0;
    for (const float value : y.span<float>()) {
      sum += static_cast<double>(value);
      dropped += value == 0.0F ? 1.0 : 0.0;
    }
    EXPECT_NEAR(dropped / 100000, ratio, 0.008);
    EXPECT_NEAR(sum / 100000, 1.0, 0.008 * static_cast<double>(dropout_factor(ratio)));
  }
}

TEST(Dropout, IsTheSameInPlaceAndOnEveryThreadCount) {
  const Tensor x = ones(9001);
  Tensor expected = like(x);
  set_threads(1);
  drop_reals(x, mask_of(0.5F, 2), expected);
  for (const int count : {2, 3}) {
    set_threads(count);
    Tensor y = x.clone();
    drop_reals(y, mask_of(0.5F, 2), y);
    EXPECT_THAT(y, TensorEq(expected));
  }
  set_threads(1);
}

template <typename Code>
void check_codes(std::int32_t zero_point) {
  constexpr std::int64_t kCount = 1001;
  const Tensor real = ones(kCount);
  Tensor kept = like(real), codes(kDTypeOf<Code>, {kCount});
  drop_reals(real, mask_of(0.5F, 4), kept);
  for (std::int64_t i = 0; i < kCount; ++i) {
    codes.data<Code>()[i] = static_cast<Code>(i % 100 - (zero_point < 0 ? 50 : 0));
  }
  const Tensor before = codes.clone();
  drop_codes(codes, mask_of(0.5F, 4), zero_point, codes);
  for (std::int64_t i = 0; i < kCount; ++i) {
    const double wanted = kept.data<float>()[i] > 0.0F ? element(before, i) : zero_point;
    ASSERT_EQ(element(codes, i), wanted) << i;
  }
}

TEST(Dropout, CodesDropToTheZeroPoint) {
  check_codes<std::uint8_t>(0);
  check_codes<std::uint8_t>(131);
  check_codes<std::int8_t>(-7);
}

}  // namespace
}  // namespace bitloom::kernels
