// The reference's layers with numbers of their own per channel, and XNOR-Net's maps. Formulas:
// integer/model.h.
#pragma once

#include "bitloom/integer/model.h"

namespace bitloom::integer {

void affine(const Model& model, const Layer& layer, ConstTensorView source, TensorView out);
void prelu(const Layer& layer, ConstTensorView source, TensorView out);
/// `means`: room for one number a source pixel.
void k_map(const Window& window, ConstTensorView source, TensorView out, float* means);
void scale_map(ConstTensorView source, ConstTensorView map, TensorView out);

}  // namespace bitloom::integer
