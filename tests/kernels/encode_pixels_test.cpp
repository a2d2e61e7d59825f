// Pixels by permutations against the reference's table, on every vector target.
// The kernel is built for VBMI, if Highway is asked.
#define HWY_WANT_AVX3_DL
#include "bitloom/kernels/encode_pixels.h"

#include <gtest/gtest.h>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "bitloom/integer/reference.h"
#include "support/highway_targets.h"
#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

template <typename T>
Tensor random_bytes(const Shape& shape, const char* name) {
  Tensor tensor(kDTypeOf<T>, shape);
  const RandomStream random(3, name);
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    tensor.data<T>()[i] = static_cast<T>(random.below(static_cast<std::uint64_t>(i), 256));
  }
  return tensor;
}

template <typename Code>
void check(const Shape& shape) {
  const Tensor images = random_bytes<std::uint8_t>(shape, "pixels");
  const Tensor table = random_bytes<Code>(Shape{shape.c(), 256}, "table");
  Tensor expected(kDTypeOf<Code>, shape), found(kDTypeOf<Code>, shape);
  integer::encode_input(images, table, expected);
  encode_pixels(images, table, found);
  EXPECT_THAT(found, TensorEq(expected)) << to_string(shape);
}

TEST(EncodePixels, EqualsTheTableOnEveryTargetWithAnyThreads) {
  const int before = threads();
  const int targets = for_each_highway_target([] {
    for (const int count : {1, 3}) {
      set_threads(count);
      for (const std::int64_t channels : {1, 2, 3, 4, 5}) {
        for (const std::int64_t side : {3, 37, 64, 131}) {
          check<std::uint8_t>({2, channels, side, side + 1});
          check<std::int8_t>({1, channels, side, side});
        }
      }
    }
  });
  EXPECT_GE(targets, 1);
  set_threads(before);
}

TEST(EncodePixels, GivesRealsToo) {
  const Tensor images = random_bytes<std::uint8_t>({1, 3, 50, 50}, "pixels");
  Tensor table(DType::kF32, Shape{3, 256});
  for (std::int64_t i = 0; i < table.elements(); ++i) {
    table.data<float>()[i] = 0.01F * static_cast<float>(i) - 1.0F;
  }
  Tensor expected(DType::kF32, images.shape()), found(DType::kF32, images.shape());
  integer::encode_input(images, table, expected);
  encode_pixels(images, table, found);
  EXPECT_THAT(found, TensorEq(expected));
}

}  // namespace
}  // namespace bitloom::kernels
