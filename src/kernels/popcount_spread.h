// A source laid out as popcount tiles read it: groups apart, padded with 0 bits.
// Goes to: popcount_product.cpp.
#pragma once

#include "popcount_geometry.h"

namespace bitloom::kernels {

/// out[plane][group][n][padded h][padded w][words]; plane 1 (nonzero) only of ternary sources,
/// which come as codes.
void spread_source(const PopcountGeometry& g, const PopcountSource& source, bool ternary,
                   std::uint32_t* out) noexcept;

}  // namespace bitloom::kernels
