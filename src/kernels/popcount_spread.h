// A source laid out as popcount tiles read it: groups apart, padded with 0 bits.
// Goes to: popcount_product.cpp.
#pragma once

#include "popcount_geometry.h"

namespace bitloom::kernels {

/// What plane 1 holds, if anything: at most one of the two.
struct SpreadPlanes {
  bool nonzeros = false;  ///< of ternary sources, which come as codes
  bool singles = false;   ///< pixels without their neighbours
};

/// out[plane][group][n][padded h][padded w][words]; plane 0 signs, with pairs (PopcountGeometry)
/// each pixel's right neighbour in the upper half of its word.
void spread_source(const PopcountGeometry& g, const PopcountSource& source,
                   const SpreadPlanes& planes, std::uint32_t* out) noexcept;

}  // namespace bitloom::kernels
