#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/datasets/dataset.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

DataOptions small() {
  return {.reader = "synthetic",
          .classes = 4,
          .validation_images = 40,
          .synthetic_images = 240,
          .synthetic_test_images = 80,
          .synthetic_height = 16,
          .synthetic_width = 16,
          .synthetic_channels = 3};
}

TEST(Synthetic, HasTheAskedSizes) {
  const Dataset data = load_dataset(small());
  EXPECT_EQ(data.name, "synthetic");
  EXPECT_EQ(data.train.images.shape(), (Shape{200, 3, 16, 16}));
  EXPECT_EQ(data.validation.size(), 40);
  EXPECT_EQ(data.test.size(), 80);
  std::vector<int> counts(4);
  for (const std::int32_t label : data.train.labels) {
    ++counts.at(static_cast<std::size_t>(label));
  }
  for (const int count : counts) EXPECT_GT(count, 25);
}

TEST(Synthetic, DependsOnSeedAndNotOnThreads) {
  set_threads(1);
  const ImageSet first = load_test_set(small());
  set_threads(3);
  const ImageSet second = load_test_set(small());
  set_threads(0);
  EXPECT_THAT(second.images, TensorEq(first.images));
  EXPECT_EQ(second.labels, first.labels);
  DataOptions other = small();
  other.synthetic_seed = 2;
  EXPECT_THAT(load_test_set(other).images, ::testing::Not(TensorEq(first.images)));
}

TEST(Synthetic, TrainAndTestDiffer) {
  DataOptions options = small();
  options.synthetic_test_images = options.synthetic_images;
  options.validation_images = 0;
  const Dataset data = load_dataset(options);
  EXPECT_THAT(data.test.images, ::testing::Not(TensorEq(data.train.images)));
}

// The energy of each class's wave, whatever its phase, tells the class: what a convolution learns.
TEST(Synthetic, ClassesCanBeTold) {
  const ImageSet set = load_test_set(small());
  int right = 0;
  for (std::int64_t i = 0; i < set.size(); ++i) {
    const std::uint8_t* image = set.view(i, 1).data<std::uint8_t>();
    std::array<double, 4> energy{};
    for (std::size_t k = 0; k < 4; ++k) {
      const double angle = std::numbers::pi * static_cast<double>(k) / 4;
      double sine = 0;
      double cosine = 0;
      for (int h = 0; h < 16; ++h) {
        for (int w = 0; w < 16; ++w) {
          const double wave =
              2 * std::numbers::pi * 3 * (w * std::cos(angle) + h * std::sin(angle)) / 16;
          const double value = image[(h * 16 + w) * 3] - 128.0;
          sine += value * std::sin(wave);
          cosine += value * std::cos(wave);
        }
      }
      energy[k] = sine * sine + cosine * cosine;
    }
    const auto best = std::max_element(energy.begin(), energy.end()) - energy.begin();
    right += best == set.labels[static_cast<std::size_t>(i)] ? 1 : 0;
  }
  EXPECT_GE(right, 78);
}

TEST(Synthetic, RefusesImpossibleSizes) {
  DataOptions options = small();
  options.synthetic_height = 0;
  EXPECT_ERROR(ConfigError, load_dataset(options), "data.synthetic_height", "1 to 4096");
  options = small();
  options.synthetic_images = 10000000;
  EXPECT_ERROR(ConfigError, load_dataset(options), "bytes of all images");
}

}  // namespace
}  // namespace bitloom::datasets
