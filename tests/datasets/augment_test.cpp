#include "bitloom/datasets/augment.h"

#include <gtest/gtest.h>

#include <array>
#include <numeric>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/datasets/loader.h"
#include "bitloom/datasets/normalization.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

// 1 .. 6 in two rows of three.
std::vector<std::uint8_t> augmented(const Augmentation& augmentation) {
  const std::vector<std::uint8_t> image{1, 2, 3, 4, 5, 6};
  std::vector<std::uint8_t> out(6, 99);
  augment_image(image.data(), Shape{1, 1, 2, 3}, 1, augmentation, out.data());
  return out;
}

TEST(AugmentImage, CropsOutOfABlackBorder) {
  using Pixels = std::vector<std::uint8_t>;
  EXPECT_EQ(augmented({.top = 1, .left = 1}), (Pixels{1, 2, 3, 4, 5, 6}));
  EXPECT_EQ(augmented({.top = 0, .left = 1}), (Pixels{0, 0, 0, 1, 2, 3}));
  EXPECT_EQ(augmented({.top = 2, .left = 2}), (Pixels{5, 6, 0, 0, 0, 0}));
  EXPECT_EQ(augmented({.top = 1, .left = 1, .mirrored = true}), (Pixels{3, 2, 1, 6, 5, 4}));
  EXPECT_EQ(augmented({.top = 1, .left = 0, .mirrored = true}), (Pixels{2, 1, 0, 5, 4, 0}));
}

TEST(AugmentImage, MovesWholePixels) {
  const std::array<std::uint8_t, 4> image{1, 2, 3, 4};  // two pixels of two channels
  std::array<std::uint8_t, 4> out{};
  augment_image(image.data(), Shape{1, 2, 1, 2}, 0, {.mirrored = true}, out.data());
  EXPECT_EQ(out, (std::array<std::uint8_t, 4>{3, 4, 1, 2}));
}

TEST(DrawAugmentation, ReachesEveryPlaceAboutEquallyOften) {
  const RandomStream random(3, "augment0");
  constexpr int kImages = 9000;
  std::array<int, 9> places{};
  int mirrored = 0;
  for (std::uint64_t i = 0; i < kImages; ++i) {
    const Augmentation drawn = draw_augmentation(random, i, {.pad = 1, .flip = true});
    ++places[static_cast<std::size_t>(drawn.top * 3 + drawn.left)];
    mirrored += drawn.mirrored ? 1 : 0;
  }
  // Five standard deviations: sqrt(9000 * 1/9 * 8/9) = 30 and sqrt(9000 / 4) = 47.
  for (const int count : places) EXPECT_NEAR(count, 1000, 150);
  EXPECT_NEAR(mirrored, 4500, 235);
}

std::vector<Tensor> batches_from(const ImageSet& set, std::int64_t epoch, std::int64_t first,
                                 const LoaderOptions& options) {
  BatchLoader loader(set, normalization_table({}, set.images.shape().c()), options);
  loader.start(epoch, first);
  std::vector<Tensor> batches;
  while (const std::optional<Batch> batch = loader.next()) {
    batches.emplace_back(DType::kF32, batch->images.shape());
    copy(batch->images, batches.back());
  }
  return batches;
}

ImageSet ramps() {
  ImageSet set{.images = Tensor(DType::kU8, {12, 3, 5, 4}), .labels = {}, .classes = 2};
  set.labels.resize(12);
  std::iota(set.images.data<std::uint8_t>(), set.images.data<std::uint8_t>() + 240, 1);
  return set;
}

TEST(AugmentedLoader, ResumesWithTheSamePixels) {
  const ImageSet set = ramps();
  const LoaderOptions options{.batch = 3, .augment = {.pad = 2, .flip = true}};
  const std::vector<Tensor> whole = batches_from(set, 4, 0, options);
  const std::vector<Tensor> resumed = batches_from(set, 4, 2, options);
  ASSERT_EQ(whole.size(), 4U);
  ASSERT_EQ(resumed.size(), 2U);
  EXPECT_THAT(resumed[0], TensorEq(whole[2]));
  EXPECT_THAT(resumed[1], TensorEq(whole[3]));
  EXPECT_THAT(batches_from(set, 5, 2, options)[0], testing::Not(TensorEq(whole[2])));
}

TEST(AugmentedLoader, RefusesAPadOutOfRange) {
  const ImageSet set = ramps();
  EXPECT_ERROR(ConfigError,
               BatchLoader(set, normalization_table({}, 3), {.batch = 3, .augment = {.pad = -1}}),
               "data.augment_pad", "0 to 1024", "-1");
}

}  // namespace
}  // namespace bitloom::datasets
