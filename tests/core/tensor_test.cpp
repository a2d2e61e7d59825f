#include "bitloom/core/tensor.h"

#include <gtest/gtest.h>

#include <cstdint>

#include "bitloom/core/shape.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom {
namespace {

TEST(Shape, CountsElements) {
  EXPECT_EQ(Shape{}.elements(), 1);
  EXPECT_EQ(Shape{7}.elements(), 7);
  EXPECT_EQ((Shape{2, 0}).elements(), 0);
  EXPECT_EQ((Shape{2, 3, 4, 5}).elements(), 120);
}

TEST(Shape, ReadsMissingDimensionsAsOne) {
  const Shape shape{8, 10};
  EXPECT_EQ(shape.n(), 8);
  EXPECT_EQ(shape.c(), 10);
  EXPECT_EQ(shape.h(), 1);
  EXPECT_EQ(shape.w(), 1);
}

// [2, 3, 4, 5] lies as NHWC: one step in C is 1, in W 3, in H 15, in N 60.
TEST(Shape, OffsetIsChannelsLast) {
  const Shape shape{2, 3, 4, 5};
  EXPECT_EQ(shape.offset(0, 1, 0, 0), 1);
  EXPECT_EQ(shape.offset(0, 0, 0, 1), 3);
  EXPECT_EQ(shape.offset(0, 0, 1, 0), 15);
  EXPECT_EQ(shape.offset(1, 0, 0, 0), 60);
  EXPECT_EQ(shape.offset(1, 2, 3, 4), 119);
}

TEST(Shape, ChangesBatchOnly) {
  EXPECT_EQ((Shape{2, 3, 4, 5}).with_batch(9), (Shape{9, 3, 4, 5}));
  EXPECT_EQ((Shape{2, 3}).with_batch(9), (Shape{9, 3}));
  EXPECT_EQ(Shape{2}.with_batch(9), Shape{9});
  EXPECT_THROW(static_cast<void>(Shape{}.with_batch(1)), ShapeError);
}

TEST(Shape, RefusesWhatItCannotHold) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 40;
  EXPECT_ERROR(ShapeError, (Shape{1, 2, 3}), "expected 0, 1, 2 or 4 dimensions", "[1, 2, 3]");
  EXPECT_ERROR(ShapeError, (Shape{1, 2, 3, 4, 5}), "found 5");
  EXPECT_ERROR(ShapeError, (Shape{4, -1}), "found -1");
  EXPECT_EQ((Shape{kHuge, 1}).elements(), kHuge);
  EXPECT_ERROR(ShapeError, (Shape{kHuge, 2}), "2^40");
  EXPECT_ERROR(ShapeError, (Shape{INT64_MAX, INT64_MAX}), "2^40");
  EXPECT_ERROR(ShapeError, (Shape{0, INT64_MAX}), "2^40");
}

TEST(Shape, PrintsAsList) {
  EXPECT_EQ(to_string(Shape{8, 3, 32, 32}), "[8, 3, 32, 32]");
  EXPECT_EQ(to_string(Shape{}), "[]");
}

TEST(DType, WordsGoThereAndBack) {
  int seen = 0;
  for (const DType dtype :
       {DType::kF32, DType::kF64, DType::kU8, DType::kS8, DType::kS32, DType::kS64, DType::kBf16}) {
    EXPECT_EQ(dtype_from_word(to_word(dtype)), dtype);
    ++seen;
  }
  EXPECT_EQ(seen, 7);
  EXPECT_EQ(size_of(DType::kBf16), 2U);
  EXPECT_EQ(size_of(DType::kS64), 8U);
  EXPECT_ERROR(FormatError, dtype_from_word("f16"), "f32, f64, u8, s8, s32, s64, bf16", "'f16'");
}

TEST(Tensor, IsAlignedAndZero) {
  for (const std::int64_t size : {0, 1, 63, 64, 65, 1000}) {
    const Tensor tensor(DType::kS8, Shape{size});
    EXPECT_FALSE(tensor.empty());
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(tensor.raw()) % Tensor::kAlignment, 0U);
    for (const std::int8_t value : tensor.span<std::int8_t>()) EXPECT_EQ(value, 0);
    EXPECT_EQ(tensor.span<std::int8_t>().size(), static_cast<std::size_t>(size));
  }
  EXPECT_TRUE(Tensor().empty());
}

TEST(Tensor, CloneIsItsOwnMemory) {
  Tensor tensor = matrix({{1, 2}, {3, 4}});
  const Tensor twin = tensor.clone();
  tensor.data<float>()[0] = 9;
  EXPECT_THAT(twin, TensorEq(matrix({{1, 2}, {3, 4}})));
  EXPECT_TRUE(Tensor().clone().empty());
}

TEST(Tensor, ReshapedViewSharesMemory) {
  Tensor tensor = matrix({{1, 2}, {3, 4}});
  const TensorView flat = tensor.view().reshaped({4});
  flat.data<float>()[3] = 7;
  EXPECT_EQ(tensor.data<float>()[3], 7);
  EXPECT_ERROR(ShapeError, tensor.view().reshaped({5}), "expected 4 elements", "5 in [5]");
}

TEST(Tensor, CopyRefusesOtherTypesAndCounts) {
  Tensor target(DType::kF32, {2, 2});
  copy(row({1, 2, 3, 4}), target);
  EXPECT_THAT(target, TensorEq(matrix({{1, 2}, {3, 4}})));
  EXPECT_ERROR(ShapeError, copy(row({1, 2}), target), "2 in [1, 2]");
  EXPECT_ERROR(ShapeError, copy(Tensor(DType::kS32, {4}), target), "expected f32, found s32");
}

TEST(Tensor, MakeTensorTakesValues) {
  const std::vector<std::int32_t> values{1, -2, 3, -4};
  const Tensor tensor = make_tensor<std::int32_t>({2, 2}, values);
  EXPECT_THAT(tensor, CodesEq({{1, -2}, {3, -4}}));
  EXPECT_THROW(make_tensor<std::int32_t>({3}, values), ShapeError);
}

// A shape of a few bytes in a file may ask for more than any machine has.
TEST(Tensor, OfMoreThanMemoryHoldsIsAnError) {
  EXPECT_ERROR(ShapeError, Tensor(DType::kF64, Shape{1 << 20, 1 << 20}), "[1048576, 1048576]",
               "at most", "found 8388608 MiB");
}

// The matchers themselves must be able to fail, or every test above proves nothing.
TEST(TensorMatchers, TellDifferencesApart) {
  const Tensor tensor = matrix({{1, 2}, {3, 4}});
  EXPECT_THAT(tensor, ::testing::Not(TensorEq(matrix({{1, 2}, {3, 5}}))));
  EXPECT_THAT(tensor, ::testing::Not(TensorEq(row({1, 2, 3, 4}))));
  EXPECT_THAT(row({0.0F}), ::testing::Not(TensorEq(row({-0.0F}))));
  EXPECT_THAT(row({0.0F}), TensorNear(row({-0.0F}), 0));
  EXPECT_THAT(tensor, TensorNear(matrix({{1, 2}, {3, 4.5F}}), 0.5));
  EXPECT_THAT(tensor, ::testing::Not(TensorNear(matrix({{1, 2}, {3, 4.5F}}), 0.4)));
  EXPECT_THAT(row({NAN}), ::testing::Not(TensorNear(row({1}), 1e9)));
  EXPECT_THAT(matrix_as<std::int8_t>({{1, -1}}), CodesEq({{1, -1}}));
  EXPECT_THAT(matrix_as<std::int8_t>({{1, -1}}), ::testing::Not(CodesEq({{1, 1}})));
}

TEST(TensorMatchers, FromNchwPutsChannelsLast) {
  const Tensor tensor = from_nchw<float>({1, 2, 1, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_THAT(tensor.view().reshaped({1, 6}), TensorEq(row({1, 4, 2, 5, 3, 6})));
}

}  // namespace
}  // namespace bitloom
