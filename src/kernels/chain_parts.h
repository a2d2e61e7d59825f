// How a chain is cut among threads. Goes to: elementwise_chain.cpp, elementwise_gradient.cpp.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/elementwise_chain.h"
#include "bitloom/kernels/highway.h"

namespace bitloom::kernels {

inline constexpr int kMostPieces = 256;
// Channels of a chain that has none of its own.
inline constexpr std::int64_t kFlatChannels = 64;

// The chain from `row` on, with `size` rows and channels.
inline ElementwiseChain part_of(const ElementwiseChain& chain, std::int64_t first_element,
                                const ChannelRows& size) {
  ElementwiseChain part = chain;
  part.size = size;
  part.source = from_element(part.source, first_element);
  if (part.output != nullptr) part.output += first_element;
  if (part.sign_codes != nullptr) part.sign_codes += first_element;
  part.sign_gradient = from_element(part.sign_gradient, first_element);
  if (part.shortcut != nullptr) {
    part.shortcut = static_cast<const std::byte*>(part.shortcut) +
                    static_cast<std::size_t>(first_element) * size_of(part.shortcut_dtype);
  }
  return part;
}

// body(part of the chain, its first element, piece) over all pieces. Without normalization
// channels mean nothing: the tensor is then rows of 64 and a rest, which the last piece takes in a
// second call.
template <typename Body>
void for_each_part(const ElementwiseChain& chain, const Body& body) {
  apply_highway_cap();
  const std::int64_t elements = chain.size.rows * chain.size.channels;
  const bool flat = chain.mean == nullptr;
  const std::int64_t channels = flat ? kFlatChannels : chain.size.channels;
  const std::int64_t rows = elements / channels;
  const std::int64_t pieces = chain.size.pieces;
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = rows * piece / pieces;
      const std::int64_t last = rows * (piece + 1) / pieces;
      body(part_of(chain, first * channels, {.rows = last - first, .channels = channels}),
           first * channels, piece);
      if (piece + 1 == pieces && elements > rows * channels) {
        body(part_of(chain, rows * channels, {.rows = 1, .channels = elements - rows * channels}),
             rows * channels, piece);
      }
    }
  });
}

}  // namespace bitloom::kernels
