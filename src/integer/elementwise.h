// The reference's pools and the stand-alone add. Formulas: integer/model.h.
#pragma once

#include "bitloom/integer/model.h"

namespace bitloom::integer {

void max_pool(const Window& window, ConstTensorView source, TensorView out);
void global_avg_pool(ConstTensorView source, TensorView out);
/// `a` and `b` are the layer's two inputs in order.
void add(const Model& model, const Layer& layer, ConstTensorView a, ConstTensorView b,
         TensorView out);

}  // namespace bitloom::integer
