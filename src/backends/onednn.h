// What the files of the oneDNN backend share.
#pragma once

#include "backend.h"

namespace bitloom::backends {

/// What is added before the clip; empty without.
inline ConstTensorView residual_of(std::span<const ConstTensorView> inputs) {
  return inputs.size() == 2 ? inputs[1] : ConstTensorView();
}

/// Why this CPU would not sum products of such codes exactly; "" where it does.
std::string saturation(Isa isa, const integer::AffineFormat& source, integer::CodeRange weights);

/// The reference's own loop: averages, sums and copies, exact by being the same code.
PlanResult plan_own_loop(const LayerContext& context);

/// Products of reals, f32 or bf16 as source and output say; weight-only weights become reals here.
PlanResult plan_float_product(const LayerContext& context);
/// Codes or reals.
PlanResult plan_max_pool(const LayerContext& context);

/// Layers of mode dynamic: our quantize kernel, oneDNN's int8 product to s32, integer/dynamic.h.
PlanResult plan_dynamic(const LayerContext& context);
/// The same on our depthwise kernel, one image at a time. @throws BackendError with its reason.
PlanResult plan_dynamic_depthwise(const LayerContext& context);

/// Layers of mode fixed-point: oneDNN's int8 product where it is exact, else its sums or our own
/// kernel and shifts. Takes every one.
PlanResult plan_fixed_point(const LayerContext& context);

}  // namespace bitloom::backends
