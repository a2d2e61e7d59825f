// Signs packed along channels: one bit a channel, 1 for -1, in words of 32.
// Comes from: backends/xnor. Goes to: kernels/popcount_product.h.
//
// A pixel of C channels takes sign_words(C) words: bit c % 32 of word c / 32 is 1 where the sign is
// -1. Bits behind the last channel are 0. Ternary codes have a second plane of the same layout: 1
// where the code is not 0; a sign bit is 0 there.
#pragma once

#include <cstdint>

#include "bitloom/core/shape.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

inline constexpr std::int64_t kSignsPerWord = 32;

/// Words of one pixel.
inline std::int64_t sign_words(std::int64_t channels) {
  return (channels + kSignsPerWord - 1) / kSignsPerWord;
}

/// Rows of values to sign bits: pixels x channels, channels contiguous.
struct BitRows {
  std::int64_t pixels = 0;
  std::int64_t channels = 0;
};

/// bit = not (t >= 0), t = x * multiplier[c], t = t + bias[c], two f32 roundings; t = x without a
/// multiplier (both nullptr). A NaN gives bit 1, as integer::sign_code gives -1.
/// x f32 [pixels, channels]; bits [pixels, sign_words(channels)].
void pack_signs(const float* x, const BitRows& rows, const float* multiplier, const float* bias,
                std::uint32_t* bits) noexcept;

/// Codes -1, 0, +1 (s8) to the planes sign = (code < 0) and nonzero = (code != 0); nonzero may be
/// nullptr (binary codes, where it is known).
void pack_codes(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                std::uint32_t* nonzero) noexcept;

/// The same on the calling thread alone.
void pack_codes_row(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                    std::uint32_t* nonzero) noexcept;

/// The inverse for binary codes: bit 1 to -1, bit 0 to +1.
void unpack_signs(const std::uint32_t* bits, const BitRows& rows, std::int8_t* codes) noexcept;

/// Max pooling of binary codes as bits: AND of the window's bits (+1 wins), and OR in channels
/// where `lowest` has a 1 bit (-1 wins; nullptr: none). Padding never wins.
/// source [N, C, H, W] gives the sizes; destination has the window's output size.
/// @pre window.pad < kernel_h and kernel_w.
void max_pool_signs(const std::uint32_t* bits, const Shape& source, const integer::Window& window,
                    const std::uint32_t* lowest, std::uint32_t* out) noexcept;

namespace reference {
void pack_signs(const float* x, const BitRows& rows, const float* multiplier, const float* bias,
                std::uint32_t* bits) noexcept;
void pack_codes(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                std::uint32_t* nonzero) noexcept;
void unpack_signs(const std::uint32_t* bits, const BitRows& rows, std::int8_t* codes) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
