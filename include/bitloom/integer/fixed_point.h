// Layers that compute with integers alone, as hardware without floating point does: powers of two
// for scales, shifts for multiplications.
// Comes from: deploy (profile fixed-point). Goes to: integer/reference.h, backends.
//
// With source, weight, residual and output on grids of steps 2^-p_x, 2^-p_w, 2^-p_r, 2^-p_y:
//   v = ((acc + B[o]) << source_shift) + (r << residual_shift)       s32
//   code = clamp(round_half_even(v / 2^right_shift), code_range())
// where v counts steps of 2^-e, e = max(p_x + p_w, p_r) (without a residual p_x + p_w), and
//   source_shift = e - (p_x + p_w), residual_shift = e - p_r, right_shift = e - p_y,
//   B[o] = round_half_even(bias[o] * 2^(p_x + p_w)).
// A negative right_shift multiplies. There are no zero points. Logits are v; who asks for them gets
// float(v) * 2^-e, the one number with a binary point.
// Source: Lin, Talathi, Annapureddy, arXiv:1511.06393, section 2; Jacob et al., arXiv:1712.05877,
// for the s32 bias on the accumulator's grid.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// n where scale = 2^-n exactly, -126 <= n <= 126; nullopt for any other number.
std::optional<int> fractional_bits(float scale);

/// round_half_even(value / 2^shift) for shift >= 0, value * 2^-shift below.
/// @pre |shift| <= 31 and |value| < 2^32.
inline std::int64_t shift_half_even(std::int64_t value, int shift) {
  if (shift <= 0) return value * (std::int64_t{1} << -shift);
  const std::int64_t floor = value >> shift;  // towards minus infinity
  const std::int64_t rest = value - floor * (std::int64_t{1} << shift);
  const std::int64_t half = std::int64_t{1} << (shift - 1);
  const bool up = rest > half || (rest == half && floor % 2 != 0);
  return floor + (up ? 1 : 0);
}

/// Largest |v| that a fixed-point layer can reach, over its outputs: what must stay below 2^31, and
/// up to 2^24 is exact in f32 as well. @pre layer.mode is kFixedPoint.
std::int64_t worst_sum(const Model& model, const Layer& layer);

/// Shifts of a layer from its steps; sets source_shift, residual_shift, right_shift.
/// `product` is p_x + p_w (add: p_x); `residual` where there is one; `output` p_y, nullopt for
/// logits. @throws ConfigError naming the layer if a shift leaves -31 .. 31.
struct FixedPointSteps {
  int product = 0;
  std::optional<int> residual;
  std::optional<int> output;
};
void set_shifts(const FixedPointSteps& steps, Layer& layer);

/// What a layer does with reals between the pixels' codes and the logits; "" where it does nothing:
/// fixed-point products and adds, pools and concat of codes.
std::string float_objection(const Model& model, const Layer& layer);

/// Checks of a fixed-point layer beyond those of its operation: codes everywhere but in the logits,
/// steps that are powers of two and fit the shifts, no zero points, worst_sum() below 2^31.
/// @throws FormatError naming the layer.
void validate_fixed_point(const Model& model, const Layer& layer);

}  // namespace bitloom::integer
