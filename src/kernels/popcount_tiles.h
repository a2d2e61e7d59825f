// The inner loops of popcount_product: sums of bit products over tiles of pixels x outputs, and
// what follows them. Plain pointers; each target's build beside a plain reference.
// Goes to: popcount_product.cpp.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// Outputs of one panel of weights: the lanes of a 512-bit register.
inline constexpr std::int64_t kPanel = 16;

/// Which planes the operands have.
///   kBinary:  sum over bits of x ^ w                       x, w: sign
///   kMasked:  sum of (x ^ w) & m                           w: sign and nonzero m
///   kTernary: sums of n & m and of (x ^ w) & n & m         x: sign and nonzero n
enum class BitProduct : std::uint8_t { kBinary, kMasked, kTernary };

/// One group of a product, its source spread out with its padding: word `offsets[k]` behind a
/// pixel's first word meets weights of depth k.
struct PopcountTiles {
  BitProduct product = BitProduct::kBinary;
  std::int64_t depth = 0;                 ///< words per output
  std::int64_t panels = 0;                ///< padded outputs / kPanel
  std::int64_t outputs = 0;               ///< real ones
  const std::int32_t* offsets = nullptr;  ///< [depth]
  const std::uint32_t* weight = nullptr;  ///< [panels][depth][planes][kPanel]
  std::int64_t source_plane = 0;          ///< words from the sign to the nonzero plane of a source
  std::int64_t oh = 1, ow = 1;            ///< output pixels of an image
  std::int64_t image_words = 0, row_words = 0, pixel_words = 0;  ///< source steps per output step
  /// What the sums are taken from, [row classes][column classes][panels * kPanel]:
  /// acc = base - 2 * sum, where base = sum |w| over all taps - sum w over the taps outside the
  /// image (padding bits are 0, as of +1, and are taken back here). kTernary: acc = sum of n & m -
  /// 2 * the other sum, base unused.
  const std::int32_t* base = nullptr;
  const std::uint8_t* row_class = nullptr;     ///< [oh]
  const std::uint8_t* column_class = nullptr;  ///< [ow]
  std::int64_t column_classes = 1;
};

/// What follows the sums; exactly one of acc, sums, reals and bits is set.
struct PopcountFinish {
  std::int32_t* acc = nullptr;  ///< s32, outputs apart by pixel_step
  Bf16* sums = nullptr;         ///< the same in bf16, rounded towards 0
  float* reals = nullptr;  ///< t = float(acc) * m; t += b; t *= map[pixel]; t += residual; clip
  std::uint32_t* bits = nullptr;  ///< bit = sum > threshold (kTernary: acc < threshold)
  std::int64_t pixel_step = 0;    ///< elements (bits: words) from pixel to pixel
  const float* multiplier = nullptr;
  const float* bias = nullptr;
  const float* map = nullptr;       ///< one a pixel, or nullptr
  const float* residual = nullptr;  ///< as reals lie, perhaps their memory, or nullptr
  float low = 0.0F, high = 0.0F;    ///< bounds, where clips
  bool clips = false;
  /// bits: as base (kBinary, kMasked), or one row (kTernary); padded outputs never give a 1.
  const std::int32_t* threshold = nullptr;
};

/// Output pixels [first, last) of the batch (image, y, x in order). Each is computed once.
void run_tiles(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) noexcept;

namespace reference {
void run_tiles(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
