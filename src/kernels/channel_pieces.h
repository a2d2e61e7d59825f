// How rows of channels are cut among threads, and how sums of the pieces meet.
// Goes to: channel_statistics.cpp, elementwise_gradient.cpp, rectifier.cpp, few_levels.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/channel_statistics.h"
#include "bitloom/kernels/highway.h"

namespace bitloom::kernels {

inline std::int64_t first_row(const ChannelRows& size, std::int64_t piece) {
  return size.rows * piece / size.pieces;
}

/// body(piece, its first row, the row behind its last).
template <typename Body>
void for_each_channel_piece(const ChannelRows& size, const Body& body) {
  apply_highway_cap();
  parallel_for(size.pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      body(piece, first_row(size, piece), first_row(size, piece + 1));
    }
  });
}

/// Sums of one kind after the other, a double a channel each, that a piece has room for.
inline constexpr std::int64_t kSumRows = 5;

/// The sums of a piece, of those that channel_scratch_bytes() counts.
inline double* piece_sums(std::byte* scratch, const ChannelRows& size, std::int64_t piece) {
  return reinterpret_cast<double*>(scratch) + piece * kSumRows * size.channels;
}

/// out[c] = factor * sum over the pieces, in order, of row `k` of their sums.
template <typename T>
void join_sums(std::byte* scratch, const ChannelRows& size, std::int64_t k, double factor, T* out) {
  for (std::int64_t c = 0; c < size.channels; ++c) {
    double sum = 0.0;
    for (std::int64_t piece = 0; piece < size.pieces; ++piece) {
      sum += piece_sums(scratch, size, piece)[k * size.channels + c];
    }
    out[c] = static_cast<T>(factor * sum);
  }
}

}  // namespace bitloom::kernels
