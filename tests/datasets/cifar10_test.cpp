#include <gtest/gtest.h>

#include <array>
#include <cstdlib>
#include <map>

#include "bitloom/core/error.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::datasets {
namespace {

constexpr int kPlane = 32 * 32;

// Plane c of the record with label `label` holds 10 * label + c, but its pixel (2, 1) holds 200 +
// c.
std::string record(int label) {
  std::string bytes(1, static_cast<char>(label));
  for (int c = 0; c < 3; ++c) {
    std::string plane(kPlane, static_cast<char>(10 * label + c));
    plane[2 * 32 + 1] = static_cast<char>(200 + c);
    bytes += plane;
  }
  return bytes;
}

class Cifar10Test : public ::testing::Test {
 protected:
  Cifar10Test() {
    for (int i = 1; i <= 5; ++i) write(cat("data_batch_", i, ".bin"), record(i) + record(9 - i));
    write("test_batch.bin", record(3));
  }

  void write(const std::string& name, const std::string& bytes) {
    io::write_whole_file(dir_ / name, bytes);
  }
  DataOptions options() const {
    return {.reader = "cifar10", .path = dir_.path().string(), .validation_images = 2};
  }

  TempDir dir_;
};

TEST_F(Cifar10Test, TurnsPlanesIntoPixels) {
  const ImageSet test = load_test_set(options());
  ASSERT_EQ(test.images.shape(), (Shape{1, 3, 32, 32}));
  EXPECT_EQ(test.labels, std::vector<std::int32_t>{3});
  const std::uint8_t* pixels = test.images.data<std::uint8_t>();
  for (int i = 0; i < kPlane; ++i) {
    for (int c = 0; c < 3; ++c) {
      ASSERT_EQ(pixels[i * 3 + c], (i == 2 * 32 + 1 ? 200 : 30) + c) << i << " " << c;
    }
  }
}

TEST_F(Cifar10Test, JoinsTheFiveTrainingFiles) {
  const Dataset data = load_dataset(options());
  EXPECT_EQ(data.image_shape, (Shape{1, 3, 32, 32}));
  EXPECT_EQ(data.train.size() + data.validation.size(), 10);
  std::map<int, int> seen;
  for (const ImageSet* set : {&data.train, &data.validation}) {
    for (std::int64_t i = 0; i < set->size(); ++i) {
      const std::int32_t label = set->labels[static_cast<std::size_t>(i)];
      EXPECT_EQ(set->view(i, 1).data<std::uint8_t>()[0], 10 * label);
      ++seen[label];
    }
  }
  EXPECT_EQ(seen,
            (std::map<int, int>{{1, 1}, {2, 1}, {3, 1}, {4, 2}, {5, 2}, {6, 1}, {7, 1}, {8, 1}}));
}

TEST_F(Cifar10Test, NamesWhatIsWrong) {
  write("data_batch_4.bin", record(1) + "x");
  EXPECT_ERROR(FormatError, load_dataset(options()), "data_batch_4.bin", "records of 3073 bytes",
               "3074 bytes, 1 too many");
  write("data_batch_4.bin", "");
  EXPECT_ERROR(FormatError, load_dataset(options()), "data_batch_4.bin", "found 0 bytes");
  write("data_batch_4.bin", record(2) + record(10));
  EXPECT_ERROR(FormatError, load_dataset(options()), "data_batch_4.bin", "labels 0 to 9",
               "10 in record 1", "data.classes");
  std::filesystem::remove(dir_ / "data_batch_4.bin");
  EXPECT_ERROR(FormatError, load_dataset(options()), "data_batch_4.bin", "found none", "data.path");
}

TEST(Cifar10Files, HoldTheKnownSet) {
  const char* shared = std::getenv("BITLOOM_SHARED_DATA");
  const std::filesystem::path folder =
      std::filesystem::path(shared != nullptr ? shared : BITLOOM_SOURCE_DIR "/../shared/data") /
      "cifar-10-batches-bin";
  if (!std::filesystem::exists(folder)) {
    GTEST_SKIP() << folder << " is absent; set BITLOOM_SHARED_DATA";
  }
  const Dataset data = load_dataset({.reader = "cifar10", .path = folder.string()});
  EXPECT_EQ(data.train.size(), 45000);
  EXPECT_EQ(data.validation.size(), 5000);
  std::array<int, 10> images{};
  for (const std::int32_t label : data.test.labels) ++images[static_cast<std::size_t>(label)];
  for (const int count : images) EXPECT_EQ(count, 1000);
}

}  // namespace
}  // namespace bitloom::datasets
