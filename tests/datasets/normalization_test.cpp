#include "bitloom/datasets/normalization.h"

#include <gtest/gtest.h>

#include <limits>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

TEST(NormalizationTable, IsPixelOver255ByDefault) {
  const Tensor table = normalization_table({}, 2);
  ASSERT_EQ(table.shape(), (Shape{2, 256}));
  EXPECT_EQ(table.data<float>()[0], 0.0F);
  EXPECT_EQ(table.data<float>()[255], 1.0F);
  EXPECT_EQ(table.data<float>()[51], 0.2F);
  EXPECT_EQ(table.data<float>()[256 + 51], 0.2F);
}

// mean 0.5 and deviation 0.25: pixel 0 is -2 and 255 is 2; 102 is (0.4 - 0.5) / 0.25 = -0.4.
TEST(NormalizationTable, AppliesMeanAndDeviationPerChannel) {
  const Tensor table = normalization_table({.mean = {0.5F, 0.0F}, .stddev = {0.25F, 2.0F}}, 2);
  EXPECT_EQ(table.data<float>()[0], -2.0F);
  EXPECT_EQ(table.data<float>()[102], -0.4F);
  EXPECT_EQ(table.data<float>()[255], 2.0F);
  EXPECT_EQ(table.data<float>()[256 + 255], 0.5F);
}

TEST(NormalizationTable, OneValueHoldsForAllChannels) {
  const Tensor table = normalization_table({.mean = {0.5F}, .stddev = {0.5F}}, 3);
  EXPECT_EQ(table.data<float>()[2 * 256], -1.0F);
}

TEST(NormalizationTable, RefusesWrongLists) {
  EXPECT_ERROR(ConfigError, normalization_table({.mean = {0, 0}}, 3), "data.mean", "found 2");
  EXPECT_ERROR(ConfigError, normalization_table({.stddev = {1, 1}}, 3), "data.stddev", "found 2");
  EXPECT_ERROR(ConfigError, normalization_table({.stddev = {0}}, 1), "above 0");
  EXPECT_ERROR(ConfigError, normalization_table({.stddev = {-1}}, 1), "above 0");
  const float infinity = std::numeric_limits<float>::infinity();
  EXPECT_ERROR(ConfigError, normalization_table({.mean = {infinity}}, 1), "finite");
}

TEST(Normalize, TakesTheTableOfEachChannel) {
  const Tensor table = normalization_table({.mean = {0, 1}, .stddev = {1, 1}}, 2);
  const Tensor images = from_nchw<std::uint8_t>({1, 2, 1, 2}, {0, 255, 0, 255});
  Tensor out(DType::kF32, {1, 2, 1, 2});
  normalize(images, table, out);
  EXPECT_THAT(out, TensorEq(from_nchw<float>({1, 2, 1, 2}, {0, 1, -1, 0})));
}

TEST(Normalize, ParallelPiecesMeetExactly) {
  const Tensor table = normalization_table({}, 3);
  Tensor images(DType::kU8, {5, 3, 101, 103});  // above three pieces of the parallel loop
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 7);
  }
  Tensor out = Tensor(DType::kF32, images.shape());
  normalize(images, table, out);
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    ASSERT_EQ(out.data<float>()[i], table.data<float>()[images.data<std::uint8_t>()[i]]) << i;
  }
}

TEST(Normalize, RefusesOtherShapes) {
  Tensor out(DType::kF32, {1, 2, 1, 2});
  const Tensor images(DType::kU8, {1, 2, 1, 2});
  EXPECT_ERROR(ShapeError, normalize(images, normalization_table({}, 1), out), "f32 [1, 256]");
  const Tensor table = normalization_table({}, 2);
  EXPECT_ERROR(ShapeError, normalize(Tensor(DType::kS8, {1, 2, 1, 2}), table, out), "found s8");
  EXPECT_ERROR(ShapeError, normalize(Tensor(DType::kU8, {2, 2, 1, 2}), table, out), "[2, 2, 1, 2]");
}

}  // namespace
}  // namespace bitloom::datasets
