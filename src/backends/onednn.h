// What the files of the oneDNN backend share.
#pragma once

#include "backend.h"

namespace bitloom::backends {

/// Why this CPU would not sum products of such codes exactly; "" where it does.
std::string saturation(Isa isa, const integer::AffineFormat& source, integer::CodeRange weights);

/// Layers of mode dynamic: our quantize kernel, oneDNN's int8 product to s32, integer/dynamic.h.
PlanResult plan_dynamic(const LayerContext& context);

/// Layers of mode fixed-point: oneDNN's int8 product where it is exact, else its sums or our own
/// kernel and shifts. Takes every one.
PlanResult plan_fixed_point(const LayerContext& context);

}  // namespace bitloom::backends
