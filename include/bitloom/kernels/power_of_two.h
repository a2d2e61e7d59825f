// The nearest power of two: what turns a multiplication into a shift.
// Goes to: kernels/shift_batch_norm, train/optimizer (shift-adamax).
#pragma once

#include <bit>
#include <cstdint>

namespace bitloom::kernels {

/// sign(x) * 2^round(log2 |x|), nearest by the logarithm: a significand above sqrt(2) goes up. 0
/// for 0 and for what lies below 2^-127, 2^128 is infinite; a NaN stays one. Source: Hubara et al.,
/// "Binarized Neural Networks", arXiv:1602.02830, AP2 of algorithm 3.
inline float nearest_power_of_two(float x) {
  constexpr std::uint32_t kSign = 0x80000000U;
  constexpr std::uint32_t kExponent = 0x7F800000U;
  constexpr std::uint32_t kRootOfTwo = 0x003504F3U;  // fraction of 1.41421354, the last to go down
  const auto bits = std::bit_cast<std::uint32_t>(x);
  const std::uint32_t magnitude = bits & ~kSign;
  const std::uint32_t rounded = (magnitude + (0x007FFFFFU - kRootOfTwo)) & kExponent;
  return std::bit_cast<float>(magnitude > kExponent ? bits : (bits & kSign) | rounded);
}

}  // namespace bitloom::kernels
