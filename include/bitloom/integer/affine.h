// The number format, defined once: real = scale * (code - zero_point).
// Goes to: quant (fake-quant nodes), deploy (lowering), integer (reference), kernels (SIMD twins).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <string_view>

namespace bitloom::integer {

/// Inclusive range of codes.
struct CodeRange {
  std::int32_t qmin = 0;
  std::int32_t qmax = 255;
  int levels() const { return qmax - qmin + 1; }
  bool operator==(const CodeRange&) const = default;
};

/// Which of the codes of a range occur. The words stand in files and graphs: "affine", "binary",
/// "ternary".
///   kAffine:  all of them, by rounding
///   kBinary:  -1 and +1, by sign with sign(0) = +1; code 0 never occurs
///   kTernary: -1, 0 and +1, by rounding (an activation) or as a quantizer of weights decides
enum class Grid : std::uint8_t { kAffine, kBinary, kTernary };
std::string_view to_word(Grid grid);
Grid grid_from_word(std::string_view word);  ///< @throws FormatError listing the known words

/// What turns reals of one tensor (or of one output channel) into codes and back.
/// Codes lie in u8 where is_signed is false, in s8 where it is true, whatever `bits` says.
struct AffineFormat {
  int bits = 8;                 ///< 1 (binary) .. 8
  bool is_signed = false;       ///< s8 codes; else u8
  std::int32_t zero_point = 0;  ///< code of real 0, inside range
  CodeRange range;              ///< codes that occur
  Grid grid = Grid::kAffine;    ///< binary and ternary: is_signed, zero point 0, range [-1, 1]
  bool operator==(const AffineFormat&) const = default;
};

/// The format of codes -1, +1 and of codes -1, 0, +1, for weights and activations alike.
inline constexpr AffineFormat kBinaryFormat{
    .bits = 1, .is_signed = true, .range = {.qmin = -1, .qmax = 1}, .grid = Grid::kBinary};
inline constexpr AffineFormat kTernaryFormat{
    .bits = 2, .is_signed = true, .range = {.qmin = -1, .qmax = 1}, .grid = Grid::kTernary};

/// Weights: signed symmetric. 8 bits (and any width when narrow) use [-(2^(b-1)-1), 2^(b-1)-1];
/// below 8 bits the full two's-complement range unless narrow.
/// @throws ConfigError for bits outside 2 .. 8.
CodeRange weight_range(int bits, bool narrow);

/// Activations: [0, 2^b-1], or signed [-2^(b-1), 2^(b-1)-1]; both with zero point 0 where
/// symmetric.
/// @throws ConfigError for bits outside 2 .. 8.
CodeRange activation_range(int bits, bool is_signed);

/// Clamps while still floating, then rounds half to even. A NaN gives qmin (callers check for NaN).
inline std::int32_t round_clamped(float value, CodeRange range) {
  const float low = static_cast<float>(range.qmin);
  const float high = static_cast<float>(range.qmax);
  const float clamped = value > low ? (value < high ? value : high) : low;
  return static_cast<std::int32_t>(std::nearbyintf(clamped));
}

/// sign(t) as a code: +1 for t >= 0 (both zeros too), else -1; a NaN gives -1.
inline std::int32_t sign_code(float t) { return t >= 0.0F ? 1 : -1; }

/// code = clamp(round_half_even(x * (1/scale) + zero_point), qmin, qmax), each step rounded to f32.
/// Binary grids: sign_code(x), whatever the scale.
/// By reciprocal, as the SIMD twins and oneDNN do: x = 0.273939937 and scale = 0.00214854861 give
/// 127.5 by reciprocal but 127.499992 by division, so codes 128 and 127.
/// @pre inverse_scale = 1.0F / scale, scale > 0.
inline std::int32_t quantize(float x, float inverse_scale, const AffineFormat& format) {
  if (format.grid == Grid::kBinary) return sign_code(x);
  const float scaled = x * inverse_scale;
  return round_clamped(scaled + static_cast<float>(format.zero_point), format.range);
}

/// real = scale * (code - zero_point), one f32 rounding.
inline float dequantize(std::int32_t code, float scale, std::int32_t zero_point) {
  return scale * static_cast<float>(code - zero_point);
}

/// Bounds of an activation function, in reals: y = min(max(x, low), high). The default is none.
struct Clip {
  float low = -std::numeric_limits<float>::infinity();
  float high = std::numeric_limits<float>::infinity();
  bool operator==(const Clip&) const = default;
};
inline constexpr Clip kRelu{.low = 0.0F};
inline constexpr Clip kRelu6{.low = 0.0F, .high = 6.0F};

/// x inside the bounds; a NaN gives low.
inline float clipped(float x, const Clip& clip) {
  return x > clip.low ? (x < clip.high ? x : clip.high) : clip.low;
}

/// Codes that clipped reals have. quantize() is monotone, so
/// quantize(clipped(x)) = min(max(quantize(x), quantize(low)), quantize(high)):
/// an activation function in front of a quantizer only narrows its range, and costs nothing where
/// the grid ends inside the bounds (a ReLU on an unsigned grid with zero point 0).
inline CodeRange clipped_range(const Clip& clip, const AffineFormat& format, float scale) {
  const float inverse_scale = 1.0F / scale;
  return {.qmin = quantize(clip.low, inverse_scale, format),
          .qmax = quantize(clip.high, inverse_scale, format)};
}

}  // namespace bitloom::integer
