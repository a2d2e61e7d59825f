#include "number_text.h"

#include <bit>
#include <cmath>
#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

std::string digits_of(std::uint32_t bits, int width) {
  std::string text;
  for (int at = width - 1; at >= 0; --at) text += ((bits >> at) & 1U) != 0 ? '1' : '0';
  return text;
}

NumberCode on_grid(const std::string& grid, const integer::AffineFormat& format, float scale,
                   float value) {
  const std::int32_t code = integer::quantize(value, 1.0F / scale, format);
  return {grid, format, scale, code, integer::dequantize(code, scale, format.zero_point)};
}

float power_of_two_above(float value) { return std::exp2(std::ceil(std::log2(value))); }

}  // namespace

FloatParts float_parts(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  FloatParts parts{.sign = (bits >> 31U) != 0,
                   .exponent_bits = (bits >> 23U) & 0xFFU,
                   .mantissa_bits = bits & 0x7FFFFFU};
  const bool normal = parts.exponent_bits != 0;
  parts.exponent = normal ? static_cast<int>(parts.exponent_bits) - 127 : -126;
  parts.significand = (normal ? 1.0 : 0.0) + std::ldexp(parts.mantissa_bits, -23);
  return parts;
}

std::string NumberCode::binary() const {
  return digits_of(static_cast<std::uint32_t>(code), format.bits);
}

std::vector<NumberCode> number_codes(float value, float largest) {
  if (!std::isfinite(value)) {
    throw ConfigError({"--number", "a finite number that f32 holds", cat(value), ""});
  }
  if (!std::isfinite(largest) || largest < 0.0F) {
    throw ConfigError({"--largest", "a positive number", cat(largest), ""});
  }
  if (largest == 0.0F) {
    largest = value == 0.0F ? 1.0F : power_of_two_above(std::abs(value));
  }
  std::vector<NumberCode> codes;
  for (const int bits : {8, 4}) {
    const integer::CodeRange weights = integer::weight_range(bits, false);
    const integer::CodeRange activations = integer::activation_range(bits, false);
    const integer::AffineFormat with_sign{.bits = bits, .is_signed = true, .range = weights};
    const float scale = largest / static_cast<float>(weights.qmax);
    const float unsigned_scale = largest / static_cast<float>(activations.qmax);
    // At the ends of what f32 holds a scale, or its reciprocal, is no normal number.
    for (const float one : {scale, unsigned_scale}) {
      if (!std::isnormal(one) || !std::isnormal(1.0F / one)) {
        throw ConfigError({"--largest", "a number whose scales f32 holds", cat(largest), ""});
      }
    }
    codes.push_back(on_grid("signed", with_sign, scale, value));
    codes.push_back(on_grid("signed, scale 2^n", with_sign, power_of_two_above(scale), value));
    codes.push_back(
        on_grid("unsigned", {.bits = bits, .range = activations}, unsigned_scale, value));
  }
  return codes;
}

std::string number_text(float value, float largest) {
  const std::vector<NumberCode> codes = number_codes(value, largest);
  const FloatParts parts = float_parts(value);
  char hex[16];
  std::snprintf(hex, sizeof hex, "0x%08x", std::bit_cast<std::uint32_t>(value));
  std::string text =
      cat(value, " as f32, ", hex, "\n  sign      ", parts.sign ? "1  -" : "0  +", "\n  exponent  ",
          digits_of(parts.exponent_bits, 8), "  ", parts.exponent, " (", parts.exponent_bits,
          " - 127)\n  mantissa  ", digits_of(parts.mantissa_bits, 23), "  significand ",
          nlohmann::json(parts.significand).dump(), "\n  value     ", parts.sign ? "-" : "",
          nlohmann::json(parts.significand).dump(), " * 2^", parts.exponent, "\n\n");
  TextTable table{{"bits", "grid", "codes", "scale", "code", "binary", "back", "error"}, {}};
  for (const NumberCode& code : codes) {
    table.rows.push_back({cat(code.format.bits), code.grid,
                          cat(code.format.range.qmin, " .. ", code.format.range.qmax),
                          cat(code.scale), cat(code.code), code.binary(), cat(code.back),
                          cat(code.back - value)});
  }
  return text + format_table(table);
}

nlohmann::json number_json(float value, float largest) {
  const FloatParts parts = float_parts(value);
  nlohmann::json codes = nlohmann::json::array();
  for (const NumberCode& code : number_codes(value, largest)) {
    codes.push_back({{"bits", code.format.bits},
                     {"grid", code.grid},
                     {"qmin", code.format.range.qmin},
                     {"qmax", code.format.range.qmax},
                     {"scale", code.scale},
                     {"code", code.code},
                     {"back", code.back}});
  }
  return {{"value", value},
          {"sign", parts.sign ? 1 : 0},
          {"exponent", parts.exponent},
          {"mantissa_bits", parts.mantissa_bits},
          {"significand", parts.significand},
          {"codes", std::move(codes)}};
}

}  // namespace bitloom::tools
