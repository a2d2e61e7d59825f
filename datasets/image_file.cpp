#include "image_file.h"

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"

namespace bitloom::datasets {
namespace {

constexpr std::int64_t kMostBytes = std::int64_t{1} << 28;

int div255(int product) {
  const int t = product + 128;
  return ((t >> 8) + t) >> 8;
}

std::uint8_t luma(int red, int green, int blue) {
  return static_cast<std::uint8_t>((red * 19595 + green * 38470 + blue * 7471 + 0x8000) >> 16);
}

/// Bytes in Adobe's inverted sense: 255 is no ink.
Picture from_cmyk(const Picture& cmyk) {
  Picture rgb{.height = cmyk.height, .width = cmyk.width, .channels = 3, .pixels = {}};
  rgb.pixels.reserve(cmyk.pixels.size() / 4 * 3);
  for (std::size_t at = 0; at < cmyk.pixels.size(); at += 4) {
    const int key = cmyk.pixels[at + 3];
    for (std::size_t c = 0; c < 3; ++c) {
      const int ink = 255 - cmyk.pixels[at + c];
      rgb.pixels.push_back(static_cast<std::uint8_t>(key - div255(ink * key)));
    }
  }
  return rgb;
}

Picture to_gray(const Picture& rgb) {
  Picture gray{.height = rgb.height, .width = rgb.width, .channels = 1, .pixels = {}};
  gray.pixels.reserve(rgb.pixels.size() / 3);
  for (std::size_t at = 0; at < rgb.pixels.size(); at += 3) {
    gray.pixels.push_back(luma(rgb.pixels[at], rgb.pixels[at + 1], rgb.pixels[at + 2]));
  }
  return gray;
}

Picture to_rgb(const Picture& gray) {
  Picture rgb{.height = gray.height, .width = gray.width, .channels = 3, .pixels = {}};
  rgb.pixels.reserve(gray.pixels.size() * 3);
  for (const std::uint8_t value : gray.pixels) rgb.pixels.insert(rgb.pixels.end(), 3, value);
  return rgb;
}

}  // namespace

Picture read_picture(const std::filesystem::path& file, bool gray) {
  const std::string bytes = io::read_whole_file(file, kMostBytes);
  Picture picture;
  if (bytes.starts_with("\xFF\xD8\xFF")) {
    picture = decode_jpeg(bytes, file.string());
  } else if (bytes.starts_with("\x89PNG\r\n\x1A\n")) {
    picture = decode_png(bytes, file.string());
  } else {
    throw FormatError({.place = file.string(),
                       .expected = "a JPEG or PNG image",
                       .found = bytes.empty() ? "an empty file" : "another kind of file",
                       .remedy = "remove it or convert it"});
  }
  if (picture.channels == 4) picture = from_cmyk(picture);
  if (gray) return picture.channels == 3 ? to_gray(picture) : picture;
  return picture.channels == 1 ? to_rgb(picture) : picture;
}

}  // namespace bitloom::datasets
