// The reference's integer sums: rows of (x - z) and weights as s16, blocked dot products, s32 sums.
#pragma once

#include <cstddef>
#include <span>

#include "product.h"

namespace bitloom::integer {

/// Bytes of scratch that integer_product needs with the present thread count.
std::size_t integer_product_bytes(const ProductGeometry& g);

/// Takes the accumulators of one output pixel: acc_s32 [O] of row `row` (batch, y, x in order).
/// A plain pointer pair, so that a run allocates nothing.
struct RowSink {
  void (*take)(const void* context, std::int64_t row, const std::int32_t* acc);
  const void* context;
};

/// acc[row, o] = sum (x - zero_point) * w over the window; padding counts as x = zero_point.
/// `source` u8 or s8; `weight` s8 OHWI. Rows are delivered by several threads.
void integer_product(const ProductGeometry& g, ConstTensorView source, std::int32_t zero_point,
                     ConstTensorView weight, const RowSink& sink, std::span<std::byte> scratch);

}  // namespace bitloom::integer
