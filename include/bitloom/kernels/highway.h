// The ISA cap of core/cpu.h, applied to Google Highway's dispatch.
#pragma once

namespace bitloom::kernels {

/// Lowers Highway's targets to core's effective_isa(); idempotent. Each public entry of our own
/// kernels calls it first, before Highway chooses a target.
void apply_highway_cap();

}  // namespace bitloom::kernels
