// Sums over the rows of [rows, cols], one a column, by several threads: gradients of what channels
// own.
// Goes to: shift_batch_norm.cpp, winograd_conv2d.cpp.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {

/// Sums of one piece of rows over a few columns.
template <std::size_t Sums>
struct ColumnBlock {
  static constexpr std::int64_t kColumns = 32 / static_cast<std::int64_t>(Sums);
  static constexpr std::int64_t kRows = 256;

  template <typename Terms>
  void add(std::int64_t begin, std::int64_t end, std::int64_t cols, std::int64_t first,
           const Terms& terms) {
    const std::int64_t count = std::min(kColumns, cols - first);
    for (std::int64_t block = begin; block < end; block += kRows) {
      float sums[32] = {};
      for (std::int64_t row = block; row < std::min(end, block + kRows); ++row) {
        for (std::int64_t c = 0; c < count; ++c) {
          const std::array<float, Sums> term = terms(row * cols + first + c, first + c);
          for (std::size_t k = 0; k < Sums; ++k) {
            sums[static_cast<std::size_t>(c) * Sums + k] += term[k];
          }
        }
      }
      for (std::size_t i = 0; i < total.size(); ++i) total[i] += static_cast<double>(sums[i]);
    }
  }

  std::array<double, 32> total{};  // [column][sum]
};

/// out[k][c] = sum over rows r of terms(r * cols + c, c)[k]. f32 over at most 256 rows, then
/// double; pieces of rows are added in order, so the bits depend on the thread count alone.
template <std::size_t Sums, typename Terms>
void column_sums(std::int64_t rows, std::int64_t cols, const std::array<float*, Sums>& out,
                 const Terms& terms) {
  using Block = ColumnBlock<Sums>;
  constexpr std::int64_t kGrain = 16384;
  constexpr std::size_t kMostPieces = 256;
  const auto used = static_cast<std::size_t>(threads());
  std::array<Block, kMostPieces> blocks;  // 64 KiB of stack
  for (std::int64_t first = 0; first < cols; first += Block::kColumns) {
    const std::int64_t count = std::min(Block::kColumns, cols - first);
    std::fill_n(blocks.begin(), used, Block());
    parallel_for(rows, std::max<std::int64_t>(1, kGrain / count),
                 [&](std::int64_t begin, std::int64_t end, int piece) {
                   blocks[static_cast<std::size_t>(piece)].add(begin, end, cols, first, terms);
                 });
    for (std::int64_t c = 0; c < count; ++c) {
      for (std::size_t k = 0; k < Sums; ++k) {
        double sum = 0.0;
        for (std::size_t piece = 0; piece < used; ++piece) {
          sum += blocks[piece].total[static_cast<std::size_t>(c) * Sums + k];
        }
        out[k][first + c] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace bitloom::kernels
