#include "../../datasets/gzip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <numeric>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/datasets/dataset.h"
#include "datasets/idx_files.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

DataOptions options_for(const std::filesystem::path& folder) {
  return {.path = folder.string(), .validation_images = 4};
}

class IdxTest : public ::testing::Test {
 protected:
  IdxTest() { write_idx_set(dir_.path()); }

  void replace(const char* name, const std::string& content) {
    io::write_whole_file(dir_ / name, content);
  }
  DataOptions options() const { return options_for(dir_.path()); }

  TempDir dir_;
};

TEST_F(IdxTest, ReadsImagesAndLabelsInOrder) {
  const ImageSet test = load_test_set(options());
  ASSERT_EQ(test.images.shape(), (Shape{10, 1, 2, 3}));
  EXPECT_EQ(test.classes, 10);
  for (std::int64_t i = 0; i < 60; ++i) EXPECT_EQ(test.images.data<std::uint8_t>()[i], i);
  for (std::int32_t i = 0; i < 10; ++i) EXPECT_EQ(test.labels[static_cast<std::size_t>(i)], i);
  EXPECT_EQ(test.view(3, 2).shape(), (Shape{2, 1, 2, 3}));
  EXPECT_EQ(test.view(3, 2).data<std::uint8_t>()[0], 18);
}

TEST_F(IdxTest, HoldsOutValidationImages) {
  const Dataset data = load_dataset(options());
  EXPECT_EQ(data.name, dir_.path().filename().string());
  EXPECT_EQ(data.image_shape, (Shape{1, 1, 2, 3}));
  EXPECT_EQ(data.classes, 10);
  EXPECT_EQ(data.train.size(), 16);
  EXPECT_EQ(data.validation.size(), 4);
  EXPECT_EQ(data.test.size(), 10);
  // Image i starts with byte 6 * i and has label i % 10: all twenty are there, once each.
  std::set<int> seen;
  for (const ImageSet* set : {&data.train, &data.validation}) {
    int before = -1;
    for (std::int64_t i = 0; i < set->size(); ++i) {
      const int image = set->images.data<std::uint8_t>()[i * 6] / 6;
      EXPECT_EQ(set->labels[static_cast<std::size_t>(i)], image % 10);
      EXPECT_GT(image, before);
      before = image;
      seen.insert(image);
    }
  }
  EXPECT_EQ(seen.size(), 20U);
  EXPECT_EQ(&images_of(data, Split::kValidation), &data.validation);
  EXPECT_EQ(&images_of(data, Split::kTrain), &data.train);
  EXPECT_EQ(&images_of(data, Split::kTest), &data.test);
}

TEST_F(IdxTest, SplitDependsOnItsSeedAlone) {
  DataOptions other = options();
  const Dataset first = load_dataset(other);
  EXPECT_THAT(load_dataset(other).validation.images, TensorEq(first.validation.images));
  // A limit on training leaves the validation images alone.
  other.train_limit = 5;
  const Dataset limited = load_dataset(other);
  EXPECT_EQ(limited.train.size(), 5);
  EXPECT_THAT(limited.validation.images, TensorEq(first.validation.images));
  other.split_seed = 2;
  EXPECT_THAT(load_dataset(other).validation.images,
              ::testing::Not(TensorEq(first.validation.images)));
}

TEST_F(IdxTest, LimitsTheTestSetFromItsStart) {
  DataOptions limited = options();
  limited.test_limit = 3;
  const ImageSet test = load_test_set(limited);
  EXPECT_EQ(test.images.shape(), (Shape{3, 1, 2, 3}));
  EXPECT_EQ(test.images.data<std::uint8_t>()[17], 17);
  limited.test_limit = 100;
  EXPECT_EQ(load_test_set(limited).size(), 10);
}

TEST_F(IdxTest, NoValidationImagesIsAllowed) {
  DataOptions none = options();
  none.validation_images = 0;
  const Dataset data = load_dataset(none);
  EXPECT_EQ(data.train.size(), 20);
  EXPECT_EQ(data.validation.size(), 0);
}

TEST_F(IdxTest, ReadsGzipAndTheDottedNames) {
  const Tensor plain = load_test_set(options()).images.clone();
  const std::string images = io::read_whole_file(dir_ / "t10k-images-idx3-ubyte");
  std::filesystem::remove(dir_ / "t10k-images-idx3-ubyte");
  replace("t10k-images-idx3-ubyte.gz", gzipped(images));
  EXPECT_THAT(load_test_set(options()).images, TensorEq(plain));
  // Two members one after the other are one content.
  replace("t10k-images-idx3-ubyte.gz", gzipped(images.substr(0, 30)) + gzipped(images.substr(30)));
  EXPECT_THAT(load_test_set(options()).images, TensorEq(plain));
  std::filesystem::rename(dir_ / "t10k-images-idx3-ubyte.gz", dir_ / "t10k-images.idx3-ubyte.gz");
  EXPECT_THAT(load_test_set(options()).images, TensorEq(plain));
  std::filesystem::rename(dir_ / "t10k-labels-idx1-ubyte", dir_ / "t10k-labels.idx1-ubyte");
  EXPECT_EQ(load_test_set(options()).size(), 10);
}

TEST_F(IdxTest, NamesWhatIsWrongWithImages) {
  const char* name = "t10k-images-idx3-ubyte";
  const auto refused = [&](const std::string& content, const char* part) {
    replace(name, content);
    EXPECT_ERROR(FormatError, load_test_set(options()), name, part);
  };
  refused("", "an IDX header of 16 bytes, found 0 bytes");
  refused("\x01\x02", "found 2 bytes");
  refused(idx_bytes({10}, counted_bytes(60)), "magic number 0x00000803");
  refused("PNG " + counted_bytes(60), "found 0x504e4720");
  refused(idx_bytes({10, 2, 3}, counted_bytes(59)), "60 values for sizes [10, 2, 3], found 59");
  refused(idx_bytes({10, 2, 3}, counted_bytes(61)), "found more bytes after them");
  refused(idx_bytes({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, ""), "at most 1073741824 values");
  refused(idx_bytes({0, 0xFFFFFFFF, 0xFFFFFFFF}, ""), "at least one image");
  refused(idx_bytes({0, 2, 3}, ""), "at least one image");
  replace(name, idx_bytes({9, 2, 3}, counted_bytes(54)));
  EXPECT_ERROR(FormatError, load_test_set(options()), "t10k-labels", "9 labels", "found 10");
}

TEST_F(IdxTest, NamesWhatIsWrongWithLabels) {
  replace("t10k-labels-idx1-ubyte", idx_bytes({10}, counted_bytes(9) + "\x0a"));
  EXPECT_ERROR(FormatError, load_test_set(options()), "labels 0 to 9, found 10 for image 9",
               "set data.classes");
  DataOptions more = options();
  more.classes = 11;
  EXPECT_EQ(load_test_set(more).labels[9], 10);
}

TEST_F(IdxTest, NamesWhatIsWrongWithGzip) {
  const std::string packed = gzipped(idx_bytes({10, 2, 3}, counted_bytes(60)));
  std::filesystem::remove(dir_ / "t10k-images-idx3-ubyte");
  const char* name = "t10k-images-idx3-ubyte.gz";
  const auto refused = [&](const std::string& content, const char* part) {
    replace(name, content);
    EXPECT_ERROR(FormatError, load_test_set(options()), name, part);
  };
  for (const std::size_t size : {2U, 9U, 12U, 40U}) refused(packed.substr(0, size), "truncated");
  refused(packed.substr(0, packed.size() - 1), "truncated");
  refused(packed + "x", "the end of the gzip data, found 1 more bytes");
  std::string broken = packed;
  broken[packed.size() - 8] = static_cast<char>(broken[packed.size() - 8] ^ 1);
  refused(broken, "incorrect data check");
}

TEST_F(IdxTest, UnpacksOnlyWhatIsAskedFor) {
  replace("bomb.gz", gzipped(std::string(100000, '\1')));
  MaybeGzip file(dir_ / "bomb.gz", 1000);
  EXPECT_EQ(file.read(3), "\1\1\1");
  EXPECT_EQ(file.read(0), "");
  EXPECT_EQ(file.read(std::int64_t{1} << 40).size(), 99997U);
  EXPECT_EQ(file.read(1), "");
  EXPECT_ERROR(FormatError, MaybeGzip(dir_ / "bomb.gz", 10), "at most 10 bytes, found");
  replace("plain", "abc");
  MaybeGzip plain(dir_ / "plain", 1000);
  EXPECT_EQ(plain.read(2), "ab");
  EXPECT_EQ(plain.read(2), "c");
}

TEST_F(IdxTest, RefusesTestImagesOfAnotherSize) {
  replace("t10k-images-idx3-ubyte", idx_bytes({10, 3, 2}, counted_bytes(60)));
  EXPECT_ERROR(FormatError, load_dataset(options()), "[1, 1, 2, 3]", "found [1, 1, 3, 2]");
}

TEST(Idx, SaysHowToGetMissingFiles) {
  const TempDir dir;
  EXPECT_ERROR(FormatError, load_test_set(options_for(dir.path())), "t10k-images-idx3-ubyte.gz",
               "found none", "apt-get install dataset-fashion-mnist or set data.path");
  EXPECT_ERROR(FormatError, load_test_set(options_for(dir / "x")), "no such folder");
}

TEST(DataOptions, NamesTheWrongKey) {
  const TempDir dir;
  write_idx_set(dir.path());
  const auto refused = [&](const DataOptions& options, const char* key, const char* part) {
    EXPECT_ERROR(ConfigError, load_dataset(options), key, part);
  };
  DataOptions good = options_for(dir.path());
  DataOptions bad = good;
  bad.reader = "jpeg";
  refused(bad, "data.reader", "one of idx, cifar10, hdf5, folder, synthetic, found 'jpeg'");
  bad = good;
  bad.validation_images = 20;
  refused(bad, "data.validation_images", "fewer than the 20 training images");
  bad.validation_images = -1;
  refused(bad, "data.validation_images", "found -1");
  bad = good;
  bad.classes = 1;
  refused(bad, "data.classes", "found 1");
  bad = good;
  bad.train_limit = -1;
  refused(bad, "data.train_limit", "found -1");
  bad = good;
  bad.test_limit = -1;
  refused(bad, "data.test_limit", "found -1");
}

/// Counts of each label; Fashion-MNIST and MNIST have ten classes.
std::vector<std::int64_t> label_counts(const ImageSet& set) {
  std::vector<std::int64_t> counts(10);
  for (const std::int32_t label : set.labels) ++counts.at(static_cast<std::size_t>(label));
  return counts;
}

double mean_pixel(const ImageSet& set) {
  const auto pixels = set.images.span<std::uint8_t>();
  return static_cast<double>(std::accumulate(pixels.begin(), pixels.end(), std::int64_t{0})) /
         static_cast<double>(pixels.size()) / 255.0;
}

// 6,000 and 1,000 images a class; mean 0.2860 over the training files (Xiao et al. 2017's code).
TEST(RealData, FashionMnistIsWhole) {
  DataOptions options;
  if (!std::filesystem::exists(options.path)) {
    GTEST_SKIP() << options.path << " is absent; apt-get install dataset-fashion-mnist";
  }
  const Dataset data = load_dataset(options);
  EXPECT_EQ(data.name, "fashion-mnist");
  EXPECT_EQ(data.image_shape, (Shape{1, 1, 28, 28}));
  EXPECT_EQ(data.train.size(), 55000);
  EXPECT_EQ(data.validation.size(), 5000);
  EXPECT_EQ(label_counts(data.test), std::vector<std::int64_t>(10, 1000));
  const auto kept = label_counts(data.train);
  const auto held = label_counts(data.validation);
  for (std::size_t k = 0; k < 10; ++k) EXPECT_EQ(kept[k] + held[k], 6000);
  EXPECT_NEAR((mean_pixel(data.train) * 55 + mean_pixel(data.validation) * 5) / 60, 0.2860, 5e-5);
}

// The test labels of MNIST start 7, 2, 1, 0, 4; mean 0.1325 over its 10,000 test images.
TEST(RealData, MnistIsWhole) {
  const char* shared = std::getenv("BITLOOM_SHARED_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(shared != nullptr ? shared : BITLOOM_SOURCE_DIR "/../shared/data") /
      "mnist";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << folder << " is absent; set BITLOOM_SHARED_DATA";
  }
  const ImageSet test = load_test_set({.path = folder.string()});
  ASSERT_EQ(test.size(), 10000);
  EXPECT_THAT(std::vector<std::int32_t>(test.labels.begin(), test.labels.begin() + 5),
              ::testing::ElementsAre(7, 2, 1, 0, 4));
  EXPECT_NEAR(mean_pixel(test), 0.1325, 5e-5);
}

}  // namespace
}  // namespace bitloom::datasets
