// Pixels to the codes of a model's input. Comes from: backends/session.
// Its plain reference: integer::encode_input.
#pragma once

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// out[n, c, h, w] = table[c, pixel], any number of channels; by permutations of whole registers on
/// CPUs with VBMI and up to four channels of codes, else by integer::encode_input itself.
/// Shapes: images u8 [N, C, H, W]; table [C, 256]; out [N, C, H, W] of the table's type.
void encode_pixels(ConstTensorView images, ConstTensorView table, TensorView out);

}  // namespace bitloom::kernels
