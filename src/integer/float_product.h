// The reference's real layers: float and weight-only convolutions and matrix products.
#pragma once

#include <cstddef>
#include <span>

#include "product.h"

namespace bitloom::integer {

/// Bytes of scratch that float_product needs with the present thread count.
std::size_t float_product_bytes(const ProductGeometry& g);

/// y = sum x * w + bias (+ residual), ReLU where the layer has one. Sums run over the window in
/// order (KH, KW, I), each step rounded to f32: the result depends on neither ISA nor threads.
/// Weight-only layers use w = dequantize(code, multiplier[o], 0).
/// `residual` is empty where the layer has none.
void float_product(const ProductGeometry& g, const Layer& layer, ConstTensorView source,
                   ConstTensorView residual, TensorView out, std::span<std::byte> scratch);

}  // namespace bitloom::integer
