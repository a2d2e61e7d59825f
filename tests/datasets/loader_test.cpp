#include "bitloom/datasets/loader.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <set>
#include <thread>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/datasets/normalization.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

/// `count` images of 2 x 1, 1 x 2 pixels; image i holds i everywhere and has label i % 10.
ImageSet numbered(std::int64_t count) {
  ImageSet set{.images = Tensor(DType::kU8, {count, 2, 1, 2}), .labels = {}, .classes = 10};
  for (std::int64_t i = 0; i < count; ++i) {
    for (std::int64_t j = 0; j < 4; ++j) {
      set.images.data<std::uint8_t>()[i * 4 + j] = static_cast<std::uint8_t>(i);
    }
    set.labels.push_back(static_cast<std::int32_t>(i % 10));
  }
  return set;
}

/// Which images the batch holds, read back from its pixels; checks pixels and labels on the way.
std::vector<std::uint32_t> images_in(const Batch& batch) {
  std::vector<std::uint32_t> images;
  EXPECT_EQ(batch.images.shape(), (Shape{batch.size, 2, 1, 2}));
  EXPECT_EQ(batch.labels.size(), static_cast<std::size_t>(batch.size));
  for (std::int64_t i = 0; i < batch.size; ++i) {
    const float* pixels = batch.images.data<float>() + i * 4;
    const auto image = static_cast<std::uint32_t>(std::lround(pixels[0] * 255));
    for (int j = 0; j < 4; ++j) {
      EXPECT_EQ(pixels[j], static_cast<float>(static_cast<double>(image) / 255.0));
    }
    EXPECT_EQ(batch.labels[static_cast<std::size_t>(i)], static_cast<std::int32_t>(image % 10));
    images.push_back(image);
  }
  return images;
}

std::vector<std::vector<std::uint32_t>> rest_of_epoch(BatchLoader& loader) {
  std::vector<std::vector<std::uint32_t>> batches;
  while (const std::optional<Batch> batch = loader.next()) batches.push_back(images_in(*batch));
  return batches;
}

TEST(BatchLoader, ShuffledEpochIsThePublishedPermutation) {
  const ImageSet set = numbered(50);
  BatchLoader loader(set, normalization_table({}, 2), {.batch = 8, .seed = 7});
  EXPECT_EQ(loader.batches(), 6);
  for (const std::int64_t epoch : {0, 1, 5}) {
    const auto order = permutation(RandomStream(7, cat("shuffle", epoch)), 50);
    loader.start(epoch);
    const auto batches = rest_of_epoch(loader);
    ASSERT_EQ(batches.size(), 6U);
    for (std::size_t b = 0; b < 6; ++b) {
      const auto begin = order.begin() + static_cast<std::ptrdiff_t>(b * 8);
      EXPECT_EQ(batches[b], std::vector<std::uint32_t>(begin, begin + 8));
    }
  }
}

TEST(BatchLoader, ResumesInTheMiddleOfAnEpoch) {
  const ImageSet set = numbered(50);
  BatchLoader whole(set, normalization_table({}, 2), {.batch = 4, .prefetch = 1});
  whole.start(3);
  const auto all = rest_of_epoch(whole);
  BatchLoader resumed(set, normalization_table({}, 2), {.batch = 4, .prefetch = 5});
  resumed.start(3, 5);
  const std::optional<Batch> first = resumed.next();
  ASSERT_TRUE(first.has_value());
  EXPECT_EQ(first->index, 5);
  EXPECT_EQ(images_in(*first), all[5]);
  EXPECT_EQ(rest_of_epoch(resumed),
            (std::vector<std::vector<std::uint32_t>>(all.begin() + 6, all.end())));
  resumed.start(3, resumed.batches());
  EXPECT_FALSE(resumed.next().has_value());
}

TEST(BatchLoader, EvaluationKeepsOrderAndTheLastBatch) {
  const ImageSet set = numbered(10);
  BatchLoader loader(set, normalization_table({}, 2),
                     {.batch = 4, .shuffle = false, .drop_last = false});
  EXPECT_EQ(loader.batches(), 3);
  EXPECT_FALSE(loader.next().has_value());  // nothing was started
  for (int pass = 0; pass < 2; ++pass) {
    loader.start(0);
    const auto batches = rest_of_epoch(loader);
    ASSERT_EQ(batches.size(), 3U);
    EXPECT_EQ(batches[0], (std::vector<std::uint32_t>{0, 1, 2, 3}));
    EXPECT_EQ(batches[2], (std::vector<std::uint32_t>{8, 9}));
  }
  EXPECT_FALSE(loader.next().has_value());
}

TEST(BatchLoader, BatchLargerThanTheSetIsOnePartialBatch) {
  const ImageSet set = numbered(3);
  BatchLoader loader(set, normalization_table({}, 2),
                     {.batch = 100, .shuffle = false, .drop_last = false});
  loader.start(0);
  EXPECT_EQ(rest_of_epoch(loader).size(), 1U);
}

TEST(BatchLoader, BatchStaysWholeWhileItIsHeld) {
  const ImageSet set = numbered(200);
  BatchLoader loader(set, normalization_table({}, 2),
                     {.batch = 10, .shuffle = false, .prefetch = 2});
  loader.start(0);
  std::set<const void*> buffers;
  for (std::uint32_t b = 0; b < 20; ++b) {
    const std::optional<Batch> batch = loader.next();
    ASSERT_TRUE(batch.has_value());
    buffers.insert(batch->images.raw());
    // Time for the thread to overwrite what it must not.
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    const auto images = images_in(*batch);
    for (std::uint32_t i = 0; i < 10; ++i) ASSERT_EQ(images[i], b * 10 + i);
  }
  EXPECT_EQ(buffers.size(), 3U);  // a ring of prefetch + 1 buffers, used again and again
}

TEST(BatchLoader, StartMayComeAtAnyTime) {
  const ImageSet set = numbered(200);
  BatchLoader loader(set, normalization_table({}, 2), {.batch = 10, .shuffle = false});
  for (std::int64_t i = 0; i < 200; ++i) {
    loader.start(0, i % 20);
    const std::optional<Batch> batch = loader.next();
    ASSERT_TRUE(batch.has_value());
    ASSERT_EQ(images_in(*batch)[0], static_cast<std::uint32_t>(i % 20 * 10));
    if (i % 3 == 0) loader.next();
  }
}

// Cropped and mirrored images of a run that was stopped are those of the run that was not.
TEST(BatchLoader, ResumesAugmentedBatchesBitForBit) {
  ImageSet set{.images = Tensor(DType::kU8, {30, 3, 9, 7}), .labels = {}, .classes = 3};
  const RandomStream random(3, "pixels");
  for (std::int64_t i = 0; i < set.images.elements(); ++i) {
    set.images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(random.below(i, 256));
  }
  set.labels.assign(30, 1);
  const LoaderOptions options{.batch = 4, .seed = 11, .augment = {.pad = 2, .flip = true}};
  BatchLoader whole(set, normalization_table({}, 3), options);
  whole.start(2);
  std::vector<std::vector<float>> all;
  while (const std::optional<Batch> batch = whole.next()) {
    const auto values = batch->images.span<float>();
    all.emplace_back(values.begin(), values.end());
  }
  LoaderOptions other = options;
  other.prefetch = 1;
  BatchLoader resumed(set, normalization_table({}, 3), other);
  resumed.start(1, 3);  // an epoch that is left in its middle leaves no trace
  resumed.next();
  resumed.start(2, 4);
  for (std::size_t b = 4; b < all.size(); ++b) {
    const std::optional<Batch> batch = resumed.next();
    ASSERT_TRUE(batch.has_value());
    const auto values = batch->images.span<float>();
    EXPECT_EQ(std::vector<float>(values.begin(), values.end()), all[b]) << b;
  }
  EXPECT_NE(all[4], all[5]);
}

/// Until `count` batches lie ready; a thread that never fills them would hang the test.
void wait_until_ready(const BatchLoader& loader, std::int64_t count) {
  while (loader.ready() < count) std::this_thread::sleep_for(std::chrono::microseconds(100));
}

TEST(BatchLoader, NeverStallsAConsumerThatIsSlowerThanItsThread) {
  const ImageSet set = numbered(200);
  BatchLoader loader(set, normalization_table({}, 2),
                     {.batch = 10, .augment = {.pad = 1, .flip = true}, .prefetch = 3});
  for (const std::int64_t epoch : {0, 1}) {
    loader.start(epoch);
    for (std::int64_t b = 0; b < 20; ++b) {
      // While one batch is held, three more become ready without a call of next().
      wait_until_ready(loader, std::min<std::int64_t>(3, 20 - b));
      ASSERT_TRUE(loader.next().has_value());
    }
    EXPECT_FALSE(loader.next().has_value());
    EXPECT_EQ(loader.waits().count, 0);
    EXPECT_EQ(loader.waits().milliseconds, 0.0);
  }
}

TEST(BatchLoader, CountsTheWaitForABatchThatIsNotReady) {
  ImageSet set{.images = Tensor(DType::kU8, {4096, 3, 16, 16}), .labels = {}, .classes = 2};
  set.labels.assign(4096, 1);
  BatchLoader loader(set, normalization_table({}, 3), {.batch = 4096, .augment = {.pad = 2}});
  loader.start(0);
  EXPECT_TRUE(loader.next().has_value());  // megabytes that nobody can have prepared by now
  EXPECT_EQ(loader.waits().count, 1);
  EXPECT_GT(loader.waits().milliseconds, 0.0);
  loader.start(1);
  EXPECT_EQ(loader.waits().count, 0);
}

TEST(BatchLoader, RethrowsWhatStoppedItsThread) {
  ImageSet set = numbered(40);
  set.labels[25] = 10;
  BatchLoader loader(set, normalization_table({}, 2), {.batch = 10, .shuffle = false});
  loader.start(0);
  EXPECT_TRUE(loader.next().has_value());
  EXPECT_TRUE(loader.next().has_value());
  EXPECT_ERROR(FormatError, loader.next(), "label of image 25: expected 0 to 9, found 10");
  EXPECT_THROW(loader.next(), FormatError);
  set.labels[25] = 5;
  loader.start(0);
  EXPECT_EQ(rest_of_epoch(loader).size(), 4U);
}

TEST(BatchLoader, RefusesWhatCannotWork) {
  const ImageSet set = numbered(10);
  const auto make = [&set](const LoaderOptions& options, std::int64_t channels = 2) {
    const BatchLoader loader(set, normalization_table({}, channels), options);
  };
  EXPECT_ERROR(ConfigError, make({.batch = 0}), "batch", "found 0");
  EXPECT_ERROR(ConfigError, make({.batch = 11}), "at most the 10 images", "found 11");
  EXPECT_ERROR(ConfigError, make({.batch = 2, .prefetch = 0}), "prefetch");
  EXPECT_ERROR(ShapeError, make({.batch = 2}, 3), "[3, 256]");
  BatchLoader loader(set, normalization_table({}, 2), {.batch = 2});
  EXPECT_ERROR(ConfigError, loader.start(0, 6), "first batch", "0 to 5");
  EXPECT_ERROR(ConfigError, loader.start(-1), "epoch", "found -1");
}

}  // namespace
}  // namespace bitloom::datasets
