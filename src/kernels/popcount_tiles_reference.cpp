#include <bit>

#include "bitloom/integer/affine.h"
#include "bitloom/integer/requantize.h"
#include "popcount_tiles.h"

namespace bitloom::kernels::reference {
namespace {

// The two sums of one output: bits of n & m (kTernary alone) and bits that differ.
struct Sums {
  std::int32_t both = 0;
  std::int32_t negative = 0;
};

Sums sums_of(const PopcountTiles& tiles, const std::uint32_t* x, std::int64_t output) {
  const std::int64_t planes = tiles.product == BitProduct::kBinary ? 1 : 2;
  const std::uint32_t* w =
      tiles.weight + output / kPanel * tiles.depth * planes * kPanel + output % kPanel;
  Sums sums;
  for (std::int64_t k = 0; k < tiles.depth; ++k) {
    std::uint32_t mask = ~0U;
    if (planes == 2) mask = w[(k * planes + 1) * kPanel];
    if (tiles.product == BitProduct::kTernary) mask &= x[tiles.source_plane + tiles.offsets[k]];
    sums.both += std::popcount(mask);
    sums.negative += std::popcount((x[tiles.offsets[k]] ^ w[k * planes * kPanel]) & mask);
  }
  return sums;
}

float real_of(const PopcountFinish& finish, std::int64_t pixel, std::int64_t output,
              std::int32_t acc) {
  float t = static_cast<float>(acc) * finish.multiplier[output];
  t = t + finish.bias[output];
  if (finish.map != nullptr) t = t * finish.map[pixel];
  if (finish.residual != nullptr) t = t + finish.residual[pixel * finish.pixel_step + output];
  return finish.clips ? integer::clipped(t, {.low = finish.low, .high = finish.high}) : t;
}

}  // namespace

void run_tiles(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) noexcept {
  const bool ternary = tiles.product == BitProduct::kTernary;
  for (std::int64_t pixel = first; pixel < last; ++pixel) {
    const std::int64_t y = pixel / tiles.ow % tiles.oh;
    const std::int64_t x = pixel % tiles.ow;
    const std::uint32_t* from = source + pixel / (tiles.oh * tiles.ow) * tiles.image_words +
                                y * tiles.row_words + x * tiles.pixel_words;
    const std::int64_t row =
        (tiles.row_class[y] * tiles.column_classes + tiles.column_class[x]) * tiles.panels * kPanel;
    for (std::int64_t o = 0; o < tiles.panels * kPanel; ++o) {
      const Sums sums = sums_of(tiles, from, o);
      const std::int32_t acc = (ternary ? sums.both : tiles.base[row + o]) - 2 * sums.negative;
      if (finish.bits != nullptr) {
        std::uint32_t& word = finish.bits[pixel * finish.pixel_step + o / 32];
        if (o % 32 == 0) word = 0;
        const bool negative =
            ternary ? acc < finish.threshold[o] : sums.negative > finish.threshold[row + o];
        word |= (negative ? 1U : 0U) << (o % 32);
      } else if (o >= tiles.outputs) {
        continue;
      } else if (finish.acc != nullptr) {
        finish.acc[pixel * finish.pixel_step + o] = acc;
      } else if (finish.sums != nullptr) {
        // The upper half of the float: rounded towards 0.
        finish.sums[pixel * finish.pixel_step + o] = {static_cast<std::uint16_t>(
            std::bit_cast<std::uint32_t>(static_cast<float>(acc)) >> 16U)};
      } else {
        finish.reals[pixel * finish.pixel_step + o] = real_of(finish, pixel, o, acc);
      }
    }
  }
}

}  // namespace bitloom::kernels::reference
