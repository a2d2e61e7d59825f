// f32 and codes to bf16, with Google Highway; each beside its plain reference of the same signature
// (namespace reference). Goes to: kernels/training_product.h.
#pragma once

#include <cstdint>
#include <cstring>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"

namespace bitloom::kernels {

/// The upper half of x, rounded half to even; a NaN stays one.
inline Bf16 round_to_bf16(float x) {
  std::uint32_t bits = 0;
  std::memcpy(&bits, &x, sizeof(bits));
  // A NaN whose payload lies in the lower half would become infinite, or -0 by the carry.
  if (x != x) return {static_cast<std::uint16_t>((bits >> 16U) | 0x40U)};
  return {static_cast<std::uint16_t>((bits + 0x7FFFU + ((bits >> 16U) & 1U)) >> 16U)};
}

inline float to_float(Bf16 x) {
  const std::uint32_t bits = std::uint32_t{x.bits} << 16U;
  float out = 0.0F;
  std::memcpy(&out, &bits, sizeof(out));
  return out;
}

/// y[r, c] = round_to_bf16(x[r, c] * factor[c]) of x [rows, cols]; factor nullptr: 1.
void to_bf16(const float* x, std::int64_t rows, std::int64_t cols, const float* factor,
             Bf16* y) noexcept;

/// y[i] = codes[i] - zero_point, exact: such a difference has at most 8 bits beside its sign, or
/// is 256. Codes are u8, or s8 where format.is_signed.
void codes_to_bf16(const void* codes, std::int64_t count, const integer::AffineFormat& format,
                   Bf16* y) noexcept;

namespace reference {
void to_bf16(const float* x, std::int64_t rows, std::int64_t cols, const float* factor,
             Bf16* y) noexcept;
void codes_to_bf16(const void* codes, std::int64_t count, const integer::AffineFormat& format,
                   Bf16* y) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
