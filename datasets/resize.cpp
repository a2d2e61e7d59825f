#include "resize.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"

namespace bitloom::datasets {
namespace {

constexpr int kPrecisionBits = 32 - 8 - 2;

/// Which inputs make one output, and how much of each.
struct Tap {
  std::int64_t first = 0;
  std::vector<std::int32_t> weights;
};

/// Pillow's rounding: half a unit is added, then the rest cut off.
template <typename Integer>
Integer rounded_up_at_half(double value) {
  const double cut = std::floor(value + 0.5);
  return static_cast<Integer>(cut);
}

std::vector<Tap> taps(std::int64_t from, std::int64_t to) {
  const double scale = static_cast<double>(from) / static_cast<double>(to);
  const double support = std::max(scale, 1.0);
  std::vector<Tap> out(static_cast<std::size_t>(to));
  std::vector<double> weights;
  for (std::int64_t x = 0; x < to; ++x) {
    const double center = (static_cast<double>(x) + 0.5) * scale;
    const auto first =
        std::max<std::int64_t>(0, rounded_up_at_half<std::int64_t>(center - support));
    const auto end = std::min(from, rounded_up_at_half<std::int64_t>(center + support));
    weights.clear();
    double sum = 0.0;
    for (std::int64_t i = first; i < end; ++i) {
      const double away = std::abs((static_cast<double>(i) - center + 0.5) * (1.0 / support));
      weights.push_back(away < 1.0 ? 1.0 - away : 0.0);
      sum += weights.back();
    }
    Tap& tap = out[static_cast<std::size_t>(x)];
    tap.first = first;
    for (const double weight : weights) {
      const double share = sum != 0.0 ? weight / sum : weight;
      tap.weights.push_back(rounded_up_at_half<std::int32_t>(share * (1 << kPrecisionBits)));
    }
  }
  return out;
}

/// One output byte: inputs lie `stride` apart.
std::uint8_t blend(const std::uint8_t* from, std::int64_t stride, const Tap& tap) {
  std::int64_t sum = std::int64_t{1} << (kPrecisionBits - 1);
  for (const std::int32_t weight : tap.weights) {
    sum += std::int64_t{weight} * *from;
    from += stride;
  }
  return static_cast<std::uint8_t>(std::min<std::int64_t>(255, sum >> kPrecisionBits));
}

Picture empty_like(const Picture& picture, std::int64_t height, std::int64_t width) {
  Picture out{.height = height, .width = width, .channels = picture.channels, .pixels = {}};
  out.pixels.resize(static_cast<std::size_t>(height * width * picture.channels));
  return out;
}

Picture resize_rows(const Picture& picture, std::int64_t width) {
  Picture out = empty_like(picture, picture.height, width);
  const std::vector<Tap> columns = taps(picture.width, width);
  const std::int64_t channels = picture.channels;
  std::uint8_t* to = out.pixels.data();
  for (std::int64_t y = 0; y < picture.height; ++y) {
    const std::uint8_t* row = picture.pixels.data() + y * picture.width * channels;
    for (const Tap& tap : columns) {
      for (std::int64_t c = 0; c < channels; ++c) {
        *to++ = blend(row + tap.first * channels + c, channels, tap);
      }
    }
  }
  return out;
}

Picture resize_columns(const Picture& picture, std::int64_t height) {
  Picture out = empty_like(picture, height, picture.width);
  const std::int64_t row_bytes = picture.width * picture.channels;
  std::uint8_t* to = out.pixels.data();
  for (const Tap& tap : taps(picture.height, height)) {
    const std::uint8_t* from = picture.pixels.data() + tap.first * row_bytes;
    for (std::int64_t i = 0; i < row_bytes; ++i) *to++ = blend(from + i, row_bytes, tap);
  }
  return out;
}

}  // namespace

Picture resize(const Picture& picture, std::int64_t height, std::int64_t width) {
  Picture out = width == picture.width ? picture : resize_rows(picture, width);
  return height == out.height ? out : resize_columns(out, height);
}

Picture resize_shorter_side(const Picture& picture, std::int64_t side) {
  const std::int64_t shorter = std::min(picture.height, picture.width);
  const std::int64_t longer = std::max(picture.height, picture.width);
  const std::int64_t other = side * longer / shorter;
  return picture.height <= picture.width ? resize(picture, side, other)
                                         : resize(picture, other, side);
}

Picture center_crop(const Picture& picture, std::int64_t side) {
  BITLOOM_ASSERT(picture.height >= side && picture.width >= side);
  const auto margin = [side](std::int64_t size) {
    return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(size - side) / 2.0));
  };
  Picture out = empty_like(picture, side, side);
  const std::int64_t top = margin(picture.height);
  const std::int64_t left = margin(picture.width);
  std::uint8_t* to = out.pixels.data();
  for (std::int64_t y = 0; y < side; ++y) {
    const std::uint8_t* from =
        picture.pixels.data() + ((top + y) * picture.width + left) * picture.channels;
    to = std::copy_n(from, side * picture.channels, to);
  }
  return out;
}

}  // namespace bitloom::datasets
