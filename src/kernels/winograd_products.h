// The products in Winograd's domain: 36 matrix products, one for each position of a tile.
// Comes from: winograd_tiles.h (what lies where). Goes to: winograd_conv2d.cpp.
#pragma once

#include "winograd_tiles.h"

namespace bitloom::kernels {

/// Lines of n that winograd_multiply takes at once.
std::int64_t winograd_panel() noexcept;

/// out[tile][n] = sum_k source[tile][k] * weights[k][n] of one position: groups [begin, end), lines
/// [first, last) of n out of `lines`.
void winograd_multiply(const WinogradBlock& source, const WinogradWeights& weights,
                       const WinogradBlock& out, std::int64_t lines, std::int64_t position,
                       std::int64_t first, std::int64_t last, std::int64_t begin,
                       std::int64_t end) noexcept;

/// sums[o][c] (+)= sum_tile gradient[tile][o] * source[tile][c] of one position: groups
/// [begin, end), lines [first, last) of o; `fresh` sums begin at 0.
void winograd_accumulate(const WinogradBlock& source, std::int64_t source_lines,
                         const WinogradBlock& gradient, std::int64_t gradient_lines,
                         const WinogradWeights& sums, std::int64_t position, std::int64_t first,
                         std::int64_t last, std::int64_t begin, std::int64_t end,
                         bool fresh) noexcept;

}  // namespace bitloom::kernels
