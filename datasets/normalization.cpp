#include "bitloom/datasets/normalization.h"

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"

namespace bitloom::datasets {
namespace {

constexpr std::int64_t kLevels = 256;

/// Value of channel c in a config list: {} is `fallback`, one value holds for all channels.
double channel_value(const std::vector<float>& list, std::int64_t c, double fallback) {
  if (list.empty()) return fallback;
  return list.size() == 1 ? list.front() : list[static_cast<std::size_t>(c)];
}

void require_list(const char* key, const std::vector<float>& list, std::int64_t channels) {
  if (list.size() > 1 && static_cast<std::int64_t>(list.size()) != channels) {
    throw ConfigError({.place = key,
                       .expected = cat("none, one, or ", channels, " values, one a channel"),
                       .found = std::to_string(list.size()),
                       .remedy = ""});
  }
  for (const float value : list) {
    if (std::isfinite(value)) continue;
    throw ConfigError(
        {.place = key, .expected = "finite values", .found = cat(value), .remedy = ""});
  }
}

}  // namespace

Tensor normalization_table(const DataOptions& options, std::int64_t channels) {
  require_list("data.mean", options.mean, channels);
  require_list("data.stddev", options.stddev, channels);
  for (const float value : options.stddev) {
    if (value > 0) continue;
    throw ConfigError(
        {.place = "data.stddev", .expected = "values above 0", .found = cat(value), .remedy = ""});
  }
  Tensor table(DType::kF32, {channels, kLevels});
  for (std::int64_t c = 0; c < channels; ++c) {
    const double mean = channel_value(options.mean, c, 0.0);
    const double stddev = channel_value(options.stddev, c, 1.0);
    for (std::int64_t p = 0; p < kLevels; ++p) {
      table.data<float>()[c * kLevels + p] =
          static_cast<float>((static_cast<double>(p) / 255.0 - mean) / stddev);
    }
  }
  return table;
}

void normalize_pixels(const std::uint8_t* src_u8, const float* table, std::int64_t channels,
                      std::int64_t pixels, float* dst) noexcept {
  for (std::int64_t i = 0; i < pixels; ++i) {
    for (std::int64_t c = 0; c < channels; ++c) *dst++ = table[c * kLevels + *src_u8++];
  }
}

void normalize(ConstTensorView images_u8, ConstTensorView table, TensorView out_f32) {
  const Shape& shape = images_u8.shape();
  if (images_u8.dtype() != DType::kU8 || shape.rank() != 4 || out_f32.dtype() != DType::kF32 ||
      out_f32.shape() != shape || table.dtype() != DType::kF32 ||
      table.shape() != Shape{shape.c(), kLevels}) {
    throw ShapeError({.place = "normalize",
                      .expected = "u8 [N, C, H, W], a table f32 [C, 256] and f32 [N, C, H, W]",
                      .found = cat(to_word(images_u8.dtype()), " ", to_string(shape), ", ",
                                   to_word(table.dtype()), " ", to_string(table.shape()), ", ",
                                   to_word(out_f32.dtype()), " ", to_string(out_f32.shape())),
                      .remedy = ""});
  }
  const std::int64_t channels = shape.c();
  const std::uint8_t* src = images_u8.data<std::uint8_t>();
  float* dst = out_f32.data<float>();
  // A piece below 16 K pixels costs less than waking a thread for it.
  parallel_for(shape.n() * shape.h() * shape.w(), 16384,
               [&](std::int64_t begin, std::int64_t end, int) {
                 normalize_pixels(src + begin * channels, table.data<float>(), channels,
                                  end - begin, dst + begin * channels);
               });
}

}  // namespace bitloom::datasets
