#include "bitloom/integer/dynamic.h"

#include <algorithm>
#include <bit>
#include <cmath>

#include "bitloom/core/parallel.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

// Largest |x|. Without its sign bit a float orders as the integer of its bits, infinities and NaN
// above all finite numbers: an integer maximum vectorizes, and a NaN cannot get lost in it.
BITLOOM_SIMD_CLONES
float largest_magnitude(const float* x, std::int64_t count) {
  std::uint32_t largest = 0;
  for (std::int64_t i = 0; i < count; ++i) {
    largest = std::max(largest, std::bit_cast<std::uint32_t>(x[i]) & 0x7fffffffU);
  }
  return std::bit_cast<float>(largest);
}

BITLOOM_SIMD_CLONES
void quantize_row(const float* x, std::int64_t count, float inverse_scale,
                  const AffineFormat& format, std::uint8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::uint8_t>(quantize(x[i], inverse_scale, format));
  }
}

}  // namespace

void dynamic_scales(const Layer& layer, std::span<float> largest) {
  for (std::size_t image = 0; image < largest.size(); ++image) {
    if (!std::isfinite(largest[image])) {
      throw NumericError({.place = cat("layer ", layer.name, ", image ", image, " of the batch"),
                          .expected = "finite activations",
                          .found = cat(largest[image]),
                          .remedy = "the weights overflow float: train again"});
    }
    largest[image] = dynamic_scale(largest[image], layer.source_format);
  }
}

void quantize_source(const Layer& layer, ConstTensorView source, TensorView codes,
                     std::span<float> scales) {
  const std::int64_t images = source.shape().n();
  const std::int64_t size = source.elements() / images;
  const float* x = source.data<float>();
  parallel_for(images, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t n = first; n < last; ++n) {
      scales[static_cast<std::size_t>(n)] = largest_magnitude(x + n * size, size);
    }
  });
  dynamic_scales(layer, scales);
  std::uint8_t* to = static_cast<std::uint8_t*>(codes.raw());  // s8 codes by their bits
  parallel_for(images, 1, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t n = first; n < last; ++n) {
      quantize_row(x + n * size, size, 1.0F / scales[static_cast<std::size_t>(n)],
                   layer.source_format, to + n * size);
    }
  });
}

}  // namespace bitloom::integer
