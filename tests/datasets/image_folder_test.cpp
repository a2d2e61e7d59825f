// Folders of pictures: the small files come from tests/golden/pictures.h5.
#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>

#include "../../datasets/image_file.h"
#include "../../datasets/memory.h"
#include "bitloom/core/error.h"
#include "bitloom/core/memory.h"
#include "bitloom/core/parallel.h"
#include "bitloom/datasets/dataset.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"
#include "support/tensor_matchers.h"

namespace bitloom::datasets {
namespace {

namespace fs = std::filesystem;

class ImageFolderTest : public ::testing::Test {
 protected:
  ImageFolderTest() {
    put("train/ant/1.jpg", "jpeg_420");
    put("train/ant/2.PNG", "png_rgb");
    put("train/bee/1.png", "png_gray");
    put("train/bee/3.jpeg", "jpeg_gray");
    put("test/ant/9.jpg", "jpeg_cmyk");
    put("test/bee/8.png", "png_palette");
    io::write_whole_file(dir_ / "train/bee/notes.txt", "no picture");
    io::write_whole_file(dir_ / "train/README", "no class");
  }

  std::string bytes(const char* name) const {
    const auto content = archive_.tensor(cat("file/", name)).span<std::uint8_t>();
    return {reinterpret_cast<const char*>(content.data()), content.size()};
  }
  void put(const std::string& path, const char* name) {
    fs::create_directories((dir_ / path).parent_path());
    io::write_whole_file(dir_ / path, bytes(name));
  }
  // Without write_whole_file()'s fsync: some tests write hundreds of files.
  void replace(const std::string& path, const std::string& content) {
    std::ofstream(dir_ / path, std::ios::binary) << content;
  }
  DataOptions options() const {
    return {.reader = "folder",
            .path = dir_.path().string(),
            .classes = 2,
            .validation_images = 1,
            .resize = 14,
            .image_size = 12};
  }

  const Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/pictures.h5");
  const TempDir dir_;
};

TEST_F(ImageFolderTest, ReadsEveryPictureUnderItsClass) {
  const Dataset data = load_dataset(options());
  EXPECT_EQ(data.image_shape, (Shape{1, 3, 12, 12}));
  EXPECT_EQ(data.train.size() + data.validation.size(), 4);
  EXPECT_EQ(data.test.labels, (std::vector<std::int32_t>{0, 1}));
  int bees = 0;
  for (const ImageSet* set : {&data.train, &data.validation}) {
    bees += static_cast<int>(std::count(set->labels.begin(), set->labels.end(), 1));
  }
  EXPECT_EQ(bees, 2);
}

TEST_F(ImageFolderTest, GivesTheSameBytesWithAnyThreadCount) {
  for (int i = 0; i < 20; ++i) put(cat("train/bee/more", i, ".png"), "png_rgb");
  const int before = threads();
  set_threads(1);
  const ImageSet one = load_dataset(options()).train;
  set_threads(2);
  const ImageSet two = load_dataset(options()).train;
  set_threads(before);
  EXPECT_EQ(one.size(), 23);
  EXPECT_EQ(one.labels, two.labels);
  EXPECT_THAT(two.images, TensorEq(one.images));
}

TEST_F(ImageFolderTest, GrayHasOneChannel) {
  DataOptions gray = options();
  gray.gray = true;
  EXPECT_EQ(load_test_set(gray).images.shape(), (Shape{2, 1, 12, 12}));
}

TEST_F(ImageFolderTest, TakesValForTest) {
  fs::rename(dir_ / "test", dir_ / "val");
  EXPECT_EQ(load_test_set(options()).size(), 2);
}

TEST_F(ImageFolderTest, RefusesClassesThatDisagree) {
  DataOptions three = options();
  three.classes = 3;
  EXPECT_ERROR(FormatError, load_dataset(three), "test: expected data.classes = 3 folders",
               "found 2; set data.classes");
  fs::rename(dir_ / "test/bee", dir_ / "test/wasp");
  EXPECT_ERROR(FormatError, load_test_set(options()), "'bee'", "found 'wasp'");
  fs::remove_all(dir_ / "train/ant");
  fs::create_directories(dir_ / "train/ant");
  fs::rename(dir_ / "test/wasp", dir_ / "test/bee");
  EXPECT_ERROR(FormatError, load_dataset(options()), "train/ant", "at least one .jpg");
}

TEST_F(ImageFolderTest, RefusesImagesOfSeveralSizes) {
  DataOptions as_they_are = options();
  as_they_are.resize = as_they_are.image_size = 0;
  EXPECT_ERROR(FormatError, load_test_set(as_they_are), "test/bee/8.png: expected 16 x 25 pixels",
               "9.jpg", "found 15 x 15", "data.image_size");
  as_they_are.image_size = 16;
  EXPECT_ERROR(FormatError, load_test_set(as_they_are), "8.png",
               "expected at least data.image_size = 16", "found 15 x 15", "data.resize");
  DataOptions larger_crop = options();
  larger_crop.image_size = 15;
  EXPECT_ERROR(ConfigError, load_test_set(larger_crop), "data.resize",
               "at least data.image_size = 15", "found 14");
}

TEST_F(ImageFolderTest, NamesWhatIsMissing) {
  fs::remove_all(dir_ / "test");
  EXPECT_ERROR(FormatError, load_test_set(options()), "test: expected a folder", "val");
  put("test/ant/9.jpg", "jpeg_cmyk");
  put("test/bee/8.png", "png_palette");
  fs::remove_all(dir_ / "train");
  EXPECT_ERROR(FormatError, load_dataset(options()), "train: expected a folder", "data.path");
}

// Every cut of a file either misses pixels or its end; none may pass or leak.
TEST_F(ImageFolderTest, NamesATruncatedPicture) {
  int cuts = 0;
  for (const char* name :
       {"jpeg_420", "jpeg_444_progressive", "jpeg_cmyk", "png_rgb", "png_palette", "png_one_bit"}) {
    const std::string whole = bytes(name);
    for (std::size_t size = 12; size + 8 < whole.size(); size += 151, ++cuts) {
      replace("test/ant/9.jpg", whole.substr(0, size));
      EXPECT_ERROR(FormatError, load_test_set(options()), "test/ant/9.jpg: expected a whole ",
                   "take another copy");
    }
  }
  EXPECT_GT(cuts, 30);
}

TEST_F(ImageFolderTest, NamesDamageAndOtherKinds) {
  replace("test/ant/9.jpg", "GIF89a");
  EXPECT_ERROR(FormatError, load_test_set(options()), "9.jpg: expected a JPEG or PNG image");
  replace("test/ant/9.jpg", "");
  EXPECT_ERROR(FormatError, load_test_set(options()), "9.jpg", "an empty file");
  std::string png = bytes("png_rgb");
  png[60] = static_cast<char>(png[60] ^ 4);  // in the compressed pixels, against their checksum
  replace("test/ant/9.jpg", png);
  EXPECT_ERROR(FormatError, load_test_set(options()), "9.jpg: expected a whole PNG image");
  std::string jpeg = bytes("jpeg_420");
  jpeg.replace(jpeg.size() / 2, 2, "\xFF\xD9");  // the end of the image, in its middle
  replace("test/ant/9.jpg", jpeg);
  EXPECT_ERROR(FormatError, load_test_set(options()), "9.jpg: expected a whole JPEG image");
}

// The header's height and width, behind the marker of a baseline frame.
TEST_F(ImageFolderTest, RefusesAPictureOfManyMegapixels) {
  std::string jpeg = bytes("jpeg_420");
  const std::size_t frame = jpeg.find("\xFF\xC0");
  ASSERT_NE(frame, std::string::npos);
  for (std::size_t i = 5; i < 9; ++i) jpeg[frame + i] = '\x7F';
  replace("test/ant/9.jpg", jpeg);
  EXPECT_ERROR(FormatError, load_test_set(options()), "9.jpg", "at most 89478485 pixels",
               "32639 x 32639");
}

// Each byte in turn: an error that names the file or pixels, nothing else.
TEST_F(ImageFolderTest, SurvivesFlippedBytes) {
  int refused = 0;
  int taken = 0;
  for (const char* name : {"jpeg_gray", "png_palette"}) {
    const std::string whole = bytes(name);
    for (std::size_t at = 0; at < whole.size(); at += 7) {
      std::string broken = whole;
      broken[at] = static_cast<char>(broken[at] ^ 0x41);
      replace("flipped", broken);
      try {
        const Picture picture = read_picture(dir_ / "flipped", false);
        EXPECT_EQ(static_cast<std::int64_t>(picture.pixels.size()),
                  picture.height * picture.width * 3);
        ++taken;
      } catch (const FormatError& error) {
        EXPECT_NE(std::string(error.what()).find("flipped"), std::string::npos);
        ++refused;
      }
    }
  }
  EXPECT_GT(refused, 20);
  EXPECT_GT(taken, 20);
}

TEST(ImageMemory, IsAskedForBeforeItIsUsed) {
  EXPECT_GT(available_memory_bytes(), 1 << 20);
  EXPECT_LE(image_memory_bytes(), available_memory_bytes());
  require_memory("set", 100 << 20, 100 << 20);
  EXPECT_ERROR(FormatError, require_memory("set", 300 << 20, 100 << 20),
               "set: expected images of at most 100 MiB", "found 300 MiB", "data.image_size");
}

}  // namespace
}  // namespace bitloom::datasets
