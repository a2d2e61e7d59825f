// One number as hardware holds it: bits of its float, and its codes on common grids.
// Goes to: inspect_command.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "bitloom/integer/affine.h"

namespace bitloom::tools {

/// An f32 taken apart: value = (-1)^sign * significand * 2^exponent.
struct FloatParts {
  bool sign = false;
  std::uint32_t exponent_bits = 0;  ///< 8 bits; 0: zero or subnormal
  std::uint32_t mantissa_bits = 0;  ///< 23 bits
  int exponent = 0;                 ///< exponent_bits - 127; -126 where they are 0
  double significand = 0.0;         ///< [1, 2), or [0, 1) where exponent_bits is 0
};
/// @pre value is finite.
FloatParts float_parts(float value);

/// The number on one grid.
struct NumberCode {
  std::string grid;  ///< "signed", "unsigned", "signed, scale 2^n"
  integer::AffineFormat format;
  float scale = 1.0F;
  std::int32_t code = 0;
  float back = 0.0F;  ///< scale * code

  /// The code in `format.bits` binary digits, two's complement.
  std::string binary() const;
};

/// At 8 and 4 bits: symmetric signed (scale = largest / qmax), the same with the scale rounded up
/// to a power of two, and unsigned (scale = largest / (2^bits - 1)), where negatives become 0.
/// `largest` 0 stands for |value| rounded up to a power of two, 1 for 0.
/// @throws ConfigError if value is not finite, or largest is neither 0 nor a positive number.
std::vector<NumberCode> number_codes(float value, float largest);

std::string number_text(float value, float largest);
nlohmann::json number_json(float value, float largest);

}  // namespace bitloom::tools
