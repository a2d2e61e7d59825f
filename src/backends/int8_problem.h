// A static layer as the problem that the int8 kernels take. Goes to: onednn.cpp, own_kernels.cpp.
#pragma once

#include "backend.h"
#include "bitloom/kernels/int8_product.h"

namespace bitloom::backends {

/// True where what follows the sums is beyond the kernels: signs, two scales, a real residual.
bool needs_sums(const LayerContext& context);

/// @pre the layer is a static product, and !needs_sums.
kernels::Int8Problem int8_problem(const LayerContext& context);

}  // namespace bitloom::backends
