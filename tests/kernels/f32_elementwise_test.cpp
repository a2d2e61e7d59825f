#include "bitloom/kernels/f32_elementwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/core/random.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

TEST(Relu, KeepsWhatIsAboveZero) {
  const Tensor x = vector_of({-1, -0.0F, 0, 1e-30F, 2, kInfinity, -kInfinity, std::nanf("")});
  Tensor y = like(x);
  relu(x, y);
  EXPECT_THAT(y, TensorEq(vector_of({0, 0, 0, 1e-30F, 2, kInfinity, 0, 0})));
  const Tensor dy = vector_of({1, 2, 3, 4, 5, 6, 7, 8});
  Tensor dx = like(x);
  relu_gradient(y, dy, dx);
  EXPECT_THAT(dx, TensorEq(vector_of({0, 0, 0, 4, 5, 6, 0, 0})));
}

TEST(Clip, KeepsWhatLiesBetweenTheBounds) {
  constexpr ClipBounds kBounds{.low = -1.0F, .high = 2.0F};
  const Tensor x = vector_of({-3, -1, -0.5F, 0, 1.5F, 2, 7, kInfinity, -kInfinity, std::nanf("")});
  Tensor y = like(x);
  clip(x, kBounds, y);
  EXPECT_THAT(y, TensorEq(vector_of({-1, -1, -0.5F, 0, 1.5F, 2, 2, 2, -1, -1})));
  const Tensor dy = vector_of({1, 2, 3, 4, 5, 6, 7, 8, 9, 10});
  Tensor dx = like(x);
  clip_gradient(y, dy, kBounds, dx);
  EXPECT_THAT(dx, TensorEq(vector_of({0, 0, 3, 4, 5, 0, 0, 0, 0, 0})));
}

// 9001 elements: a piece for each thread and an odd rest.
TEST(Elementwise, WorksInPlaceOverAllPieces) {
  for (const std::int64_t count : {1L, 63L, 64L, 65L, 9001L}) {
    Tensor a(DType::kF32, {count}), b(DType::kF32, {count});
    const RandomStream random(1, "elementwise");
    for (std::int64_t i = 0; i < count; ++i) {
      a.data<float>()[i] = random.normal(static_cast<std::uint64_t>(2 * i));
      b.data<float>()[i] = random.normal(static_cast<std::uint64_t>(2 * i + 1));
    }
    Tensor positive = a.clone(), gradient = b.clone(), sum = a.clone(), copied = like(a);
    relu(positive, positive);
    relu_gradient(positive, gradient, gradient);
    Tensor clipped = a.clone(), clipped_gradient = b.clone();
    constexpr ClipBounds kBounds{.low = -0.5F, .high = 1.0F};
    clip(clipped, kBounds, clipped);
    clip_gradient(clipped, clipped_gradient, kBounds, clipped_gradient);
    add(sum, b, sum);
    copy_f32(a, copied);
    copy_f32(copied, copied);
    EXPECT_THAT(copied, TensorEq(a));
    for (std::int64_t i = 0; i < count; ++i) {
      const float value = a.data<float>()[i], other = b.data<float>()[i];
      ASSERT_EQ(positive.data<float>()[i], value > 0 ? value : 0) << i;
      ASSERT_EQ(gradient.data<float>()[i], value > 0 ? other : 0) << i;
      ASSERT_EQ(clipped.data<float>()[i], std::clamp(value, -0.5F, 1.0F)) << i;
      ASSERT_EQ(clipped_gradient.data<float>()[i], value > -0.5F && value < 1.0F ? other : 0) << i;
      ASSERT_EQ(sum.data<float>()[i], value + other) << i;
    }
  }
}

}  // namespace
}  // namespace bitloom::kernels
