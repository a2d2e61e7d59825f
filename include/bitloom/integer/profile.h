// Which number formats a device runs exactly. Kept as data; chosen with --profile; stored in
// checkpoints so that training already obeys it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/integer/affine.h"

namespace bitloom::integer {

/// One row of DESIGN.md's profile table.
struct DeviceProfile {
  std::string name;               ///< "int8", "int8-reduced", "fixed-point"
  CodeRange widest_weights;       ///< codes of an 8-bit request: [-127, 127] or [-64, 63]
  bool signed_as_u8 = false;      ///< signed activations are stored u8 with zero point 2^(b-1)
  bool integers_only = false;     ///< products by integer/fixed_point.h, without a float in them
  bool needs_exact_u8s8 = false;  ///< wrong on CPUs that sum u8*s8 pairs in 16 bits
  std::string reason;             ///< one line for messages

  /// Range of weight codes for a request of `bits`; never wider than widest_weights.
  /// @throws ConfigError for bits outside 2 .. 8.
  CodeRange weights(int bits, bool narrow = false) const;
  /// Format of activations for a request of `bits`; carries_sign where values below 0 occur.
  AffineFormat activations(int bits, bool carries_sign) const;
  /// Bits that the widest of `range` needs (7 for [-64, 63]).
  static int bits_of(CodeRange range);
};

const std::vector<DeviceProfile>& all_profiles();
/// @throws ConfigError listing the known names.
const DeviceProfile& profile_named(std::string_view name);
/// "int8" where the CPU sums u8*s8 exactly, else "int8-reduced".
const DeviceProfile& default_profile(Isa isa);
/// Empty if `isa` runs the profile exactly; else the reason it does not.
std::string profile_objection(const DeviceProfile& profile, Isa isa);

}  // namespace bitloom::integer
