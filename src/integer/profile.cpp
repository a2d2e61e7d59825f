#include "bitloom/integer/profile.h"

#include "bitloom/core/error.h"

namespace bitloom::integer {

CodeRange DeviceProfile::weights(int bits, bool narrow) const {
  CodeRange range = weight_range(bits, narrow);
  range.qmin = std::max(range.qmin, widest_weights.qmin);
  range.qmax = std::min(range.qmax, widest_weights.qmax);
  if (narrow) range.qmin = std::max(range.qmin, -range.qmax);
  return range;
}

AffineFormat DeviceProfile::activations(int bits, bool carries_sign) const {
  const bool is_signed = carries_sign && !signed_as_u8;
  const CodeRange range = activation_range(bits, is_signed);
  const std::int32_t zero_point = carries_sign && signed_as_u8 ? 1 << (bits - 1) : 0;
  return {.bits = bits, .is_signed = is_signed, .zero_point = zero_point, .range = range};
}

int DeviceProfile::bits_of(CodeRange range) {
  const int sign = range.qmin < 0 ? 1 : 0;
  int bits = 1;
  while (range.qmin < -(1 << (bits - 1)) || range.qmax >= 1 << (bits - sign)) ++bits;
  return bits;
}

const std::vector<DeviceProfile>& all_profiles() {
  static const std::vector<DeviceProfile> profiles{
      {.name = "int8",
       .widest_weights = {-127, 127},
       .signed_as_u8 = false,
       .needs_exact_u8s8 = true,
       .reason = "sums u8*s8 products in 32 bits"},
      {.name = "int8-reduced",
       .widest_weights = {-64, 63},
       .signed_as_u8 = true,
       .needs_exact_u8s8 = false,
       .reason = "7-bit weights, since a pair 2 * 255 * 64 still fits the 16-bit sums of x86 "
                 "without VNNI"},
      {.name = "fixed-point",
       .widest_weights = {-127, 127},
       .signed_as_u8 = false,
       .integers_only = true,
       .needs_exact_u8s8 = false,
       .reason = "scales are powers of two and requantization shifts: no float between codes and "
                 "logits"}};
  return profiles;
}

const DeviceProfile& profile_named(std::string_view name) {
  std::string known;
  for (const DeviceProfile& profile : all_profiles()) {
    if (profile.name == name) return profile;
    known += (known.empty() ? "" : ", ") + profile.name;
  }
  throw ConfigError({.place = "profile",
                     .expected = "one of " + known,
                     .found = cat("'", name, "'"),
                     .remedy = ""});
}

const DeviceProfile& default_profile(Isa isa) {
  return profile_named(has_exact_u8s8(isa) ? "int8" : "int8-reduced");
}

std::string profile_objection(const DeviceProfile& profile, Isa isa) {
  if (!profile.needs_exact_u8s8 || has_exact_u8s8(isa)) return "";
  return cat("profile ", profile.name, " needs u8*s8 sums of 32 bits, which ", to_word(isa),
             " lacks (pairs saturate at 16 bits)");
}

}  // namespace bitloom::integer
