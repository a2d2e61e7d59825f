// Where tensors lie in one shared block of memory, planned once from when each is alive.
// Goes to: layers (training graph), backends (sessions).
#pragma once

#include <cstddef>
#include <span>
#include <vector>

namespace bitloom {

/// One buffer: its size and the first and last step (both inclusive) at which it must hold.
struct Lifetime {
  std::size_t bytes = 0;
  int first = 0;
  int last = 0;
};

/// Byte offsets of the buffers, in the order they were given, and the size of the whole block.
struct ArenaPlan {
  std::vector<std::size_t> offsets;
  std::size_t total = 0;
};

/// Places buffers so that two that are alive at the same step never share a byte.
/// Offsets and total are multiples of Tensor::kAlignment; a buffer of 0 bytes gets offset 0.
/// Greedy: largest first, each into the smallest gap that holds it among the buffers alive with it
/// (ties: the earlier index, the lower offset), so equal input gives an equal plan.
/// @pre first <= last.
ArenaPlan plan_arena(std::span<const Lifetime> lifetimes);

}  // namespace bitloom
