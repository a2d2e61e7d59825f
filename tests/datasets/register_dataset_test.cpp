#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/datasets/dataset.h"
#include "support/error_matchers.h"

namespace bitloom::datasets {
namespace {

ImageSet ramp(std::int64_t count, std::int64_t side) {
  ImageSet set;
  set.images = Tensor(DType::kU8, Shape{count, 1, side, side});
  std::uint8_t value = 0;
  for (std::uint8_t& pixel : set.images.span<std::uint8_t>()) pixel = value++;
  for (std::int64_t i = 0; i < count; ++i) set.labels.push_back(static_cast<std::int32_t>(i % 3));
  return set;
}

/// What load_dataset makes of a reader that gives `set`.
Dataset load(const std::string& word, const std::function<ImageSet(Split)>& give) {
  register_dataset(word, [give](const DataOptions&, Split split) { return give(split); });
  DataOptions options;
  options.reader = word;
  options.classes = 3;
  options.validation_images = 2;
  return load_dataset(options);
}

TEST(RegisterDataset, WordThenReadsSplitsAndLimits) {
  const Dataset data =
      load("own", [](Split split) { return ramp(split == Split::kTest ? 4 : 9, 2); });
  EXPECT_THAT(known_readers(), testing::Contains("own"));
  EXPECT_EQ(data.name, "own");
  EXPECT_EQ(data.train.size(), 7);
  EXPECT_EQ(data.validation.size(), 2);
  EXPECT_EQ(data.test.size(), 4);
  EXPECT_EQ(data.test.classes, 3);
  EXPECT_EQ(data.image_shape, (Shape{1, 1, 2, 2}));
}

TEST(RegisterDataset, ChecksWhatTheReaderGives) {
  EXPECT_ERROR(FormatError, load("none", [](Split) { return ImageSet(); }), "data set 'none', test",
               "u8 images");
  EXPECT_ERROR(FormatError,
               load("reals",
                    [](Split) {
                      ImageSet set = ramp(4, 2);
                      set.images = Tensor(DType::kF32, set.images.shape());
                      return set;
                    }),
               "u8 images", "f32");
  EXPECT_ERROR(FormatError,
               load("few",
                    [](Split) {
                      ImageSet set = ramp(4, 2);
                      set.labels.pop_back();
                      return set;
                    }),
               "4 labels", "3");
  EXPECT_ERROR(FormatError,
               load("wide",
                    [](Split) {
                      ImageSet set = ramp(4, 2);
                      set.labels[1] = 3;
                      return set;
                    }),
               "0 .. 2 (data.classes)", "3");
  EXPECT_ERROR(FormatError,
               load("sizes", [](Split split) { return ramp(9, split == Split::kTest ? 2 : 3); }),
               "the test images");
}

TEST(RegisterDataset, RefusesWordsThatAreTakenOrUnfit) {
  const auto give = [](const DataOptions&, Split) { return ramp(4, 2); };
  EXPECT_ERROR(ConfigError, register_dataset("idx", give), "not taken");
  EXPECT_ERROR(ConfigError, register_dataset("a,b", give), "letters, digits");
}

}  // namespace
}  // namespace bitloom::datasets
