// Binary and ternary layers on popcount kernels.
#include "backend.h"
#include "bitloom/core/error.h"

namespace bitloom::backends {

PlanResult plan_xnor(const LayerContext& context) {
  if (!context.is_product()) return Declined{""};
  const integer::ComputeMode mode = context.layer.mode;
  if (mode == integer::ComputeMode::kFloat || mode == integer::ComputeMode::kWeightOnly) {
    return Declined{"activations are real"};
  }
  return Declined{cat("weights have ", context.layer.weight_bits, " bits, popcount takes 1")};
}

}  // namespace bitloom::backends
