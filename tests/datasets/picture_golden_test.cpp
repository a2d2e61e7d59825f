// Decoding and resizing against Pillow; tools/golden/pictures.py says what is stored and within
// what tolerance it holds.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "../../datasets/image_file.h"
#include "../../datasets/resize.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "support/temp_dir.h"

namespace bitloom::datasets {
namespace {

/// Largest difference of any byte; 256 where the sizes differ.
int distance(const Picture& picture, const Tensor& wanted) {
  const Shape shape{1, picture.channels, picture.height, picture.width};
  if (wanted.shape() != shape) {
    ADD_FAILURE() << "expected " << to_string(wanted.shape()) << ", found " << to_string(shape);
    return 256;
  }
  int largest = 0;
  const auto pixels = wanted.span<std::uint8_t>();
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    largest = std::max(largest, std::abs(int{pixels[i]} - int{picture.pixels[i]}));
  }
  return largest;
}

Picture picture_of(const Tensor& tensor) {
  const Shape& shape = tensor.shape();
  const auto pixels = tensor.span<std::uint8_t>();
  return {.height = shape.h(),
          .width = shape.w(),
          .channels = shape.c(),
          .pixels = {pixels.begin(), pixels.end()}};
}

class PictureGolden : public ::testing::TestWithParam<const char*> {
 protected:
  const Tensor& golden(const char* folder) const {
    return archive_.tensor(cat(folder, "/", GetParam()));
  }
  int tolerance() const { return std::string(GetParam()).starts_with("jpeg") ? 1 : 0; }
  std::filesystem::path file() const {
    const auto bytes = golden("file").span<std::uint8_t>();
    const auto path = dir_ / "picture";
    io::write_whole_file(path, {reinterpret_cast<const char*>(bytes.data()), bytes.size()});
    return path;
  }

  const Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/pictures.h5");
  const TempDir dir_;
};

TEST_P(PictureGolden, DecodesToPillowsPixels) {
  EXPECT_LE(distance(read_picture(file(), false), golden("rgb")), tolerance());
  EXPECT_LE(distance(read_picture(file(), true), golden("gray")), tolerance());
}

TEST_P(PictureGolden, ResizesAndCropsBitForBit) {
  const std::int64_t side = archive_.integer(cat("resized/", GetParam()), "side");
  const Picture small = resize_shorter_side(picture_of(golden("rgb")), side);
  EXPECT_EQ(distance(small, golden("resized")), 0);
  EXPECT_EQ(distance(center_crop(small, side - 3), golden("cropped")), 0);
}

INSTANTIATE_TEST_SUITE_P(Files, PictureGolden,
                         ::testing::Values("jpeg_420", "jpeg_444_progressive", "jpeg_gray",
                                           "jpeg_cmyk", "png_rgb", "png_alpha", "png_palette",
                                           "png_gray", "png_one_bit"),
                         [](const auto& param) { return std::string(param.param); });

}  // namespace
}  // namespace bitloom::datasets
