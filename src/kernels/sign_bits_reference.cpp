#include <algorithm>

#include "bitloom/integer/affine.h"
#include "bitloom/kernels/sign_bits.h"

namespace bitloom::kernels::reference {
namespace {

// Sets bit c of a pixel's words where holds(c).
template <typename Holds>
void pack_pixel(std::int64_t channels, const Holds& holds, std::uint32_t* words) {
  std::fill_n(words, sign_words(channels), 0U);
  for (std::int64_t c = 0; c < channels; ++c) {
    if (holds(c)) words[c / kSignsPerWord] |= 1U << (c % kSignsPerWord);
  }
}

}  // namespace

void pack_signs(const float* x, const BitRows& rows, const float* multiplier, const float* bias,
                std::uint32_t* bits) noexcept {
  const std::int64_t words = sign_words(rows.channels);
  for (std::int64_t pixel = 0; pixel < rows.pixels; ++pixel) {
    const float* from = x + pixel * rows.channels;
    pack_pixel(
        rows.channels,
        [&](std::int64_t c) {
          float t = from[c];
          if (multiplier != nullptr) {
            t = t * multiplier[c];
            t = t + bias[c];
          }
          return integer::sign_code(t) < 0;
        },
        bits + pixel * words);
  }
}

void pack_codes(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                std::uint32_t* nonzero) noexcept {
  const std::int64_t words = sign_words(rows.channels);
  for (std::int64_t pixel = 0; pixel < rows.pixels; ++pixel) {
    const std::int8_t* from = codes + pixel * rows.channels;
    pack_pixel(
        rows.channels, [&](std::int64_t c) { return from[c] < 0; }, sign + pixel * words);
    if (nonzero == nullptr) continue;
    pack_pixel(
        rows.channels, [&](std::int64_t c) { return from[c] != 0; }, nonzero + pixel * words);
  }
}

void unpack_signs(const std::uint32_t* bits, const BitRows& rows, std::int8_t* codes) noexcept {
  const std::int64_t words = sign_words(rows.channels);
  for (std::int64_t i = 0; i < rows.pixels * rows.channels; ++i) {
    const std::int64_t c = i % rows.channels;
    const std::uint32_t word = bits[i / rows.channels * words + c / kSignsPerWord];
    codes[i] = static_cast<std::int8_t>((word >> (c % kSignsPerWord)) & 1U ? -1 : 1);
  }
}

}  // namespace bitloom::kernels::reference
