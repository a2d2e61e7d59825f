// The reference's pools, the stand-alone add and concat. Formulas: integer/model.h.
#pragma once

#include <span>

#include "bitloom/integer/model.h"

namespace bitloom::integer {

void max_pool(const Layer& layer, ConstTensorView source, TensorView out);
/// One window over the whole image is a global average. `zero_point`: the code of a pixel of
/// padding, where padding counts.
void avg_pool(const Window& window, ConstTensorView source, TensorView out,
              std::int32_t zero_point);
/// An input whose memory begins where its channels go is in place already: its maker wrote pixels
/// as far apart as `out`'s.
void concat(std::span<const ConstTensorView> inputs, TensorView out);
/// `a` and `b` are the layer's two inputs in order.
void add(const Model& model, const Layer& layer, ConstTensorView a, ConstTensorView b,
         TensorView out);

}  // namespace bitloom::integer
