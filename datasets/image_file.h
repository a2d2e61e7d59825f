// One JPEG or PNG file as pixels. Private to datasets.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace bitloom::datasets {

/// Bytes [height, width, channels].
struct Picture {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t channels = 0;
  std::vector<std::uint8_t> pixels;
};

/// The most pixels of one file: what Pillow takes without a warning. A file of a few kilobytes may
/// claim thousands of megapixels.
constexpr std::int64_t kMostPixels = 89'478'485;

/// Reads a file by its first bytes, whatever its name ends in, as 3 channels or as 1 (`gray`).
///
/// As Pillow's convert("RGB") and convert("L") do: gray is repeated; alpha is dropped; CMYK becomes
///   R = K - div255((255 - C) K)  with the inverted values that Adobe writes, div255 rounded;
///   L = (19595 R + 38470 G + 7471 B + 2^15) >> 16.
/// 16-bit PNG keeps the high byte. EXIF orientation is not looked at.
/// @throws FormatError naming the file if it is missing, of another kind, damaged, truncated or
///         larger than kMostPixels.
Picture read_picture(const std::filesystem::path& file, bool gray);

/// Content of a JPEG file: 1, 3 (RGB) or 4 (inverted CMYK) channels. `name` is for messages.
/// Ends with an error where libjpeg would warn of lost data and fill in gray.
Picture decode_jpeg(const std::string& bytes, const std::string& name);

/// Content of a PNG file: 1 or 3 channels of 8 bits.
Picture decode_png(const std::string& bytes, const std::string& name);

}  // namespace bitloom::datasets
