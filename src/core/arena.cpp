#include "bitloom/core/arena.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "bitloom/core/tensor.h"

namespace bitloom {
namespace {

/// Bytes [begin, end) already taken by a buffer that is alive at the same time.
struct Taken {
  std::size_t begin;
  std::size_t end;
};

std::size_t aligned(std::size_t bytes) {
  return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
}

bool overlap(const Lifetime& a, const Lifetime& b) {
  return a.first <= b.last && b.first <= a.last;
}

/// Start of the smallest gap of at least `size` bytes; past the last taken byte if there is none.
std::size_t best_gap(std::vector<Taken>& taken, std::size_t size) {
  std::sort(taken.begin(), taken.end(),
            [](const Taken& a, const Taken& b) { return a.begin < b.begin; });
  std::size_t best = std::numeric_limits<std::size_t>::max();
  std::size_t best_size = best;
  std::size_t free_from = 0;
  for (const Taken& piece : taken) {
    if (piece.begin > free_from) {
      const std::size_t gap = piece.begin - free_from;
      if (gap >= size && gap < best_size) {
        best = free_from;
        best_size = gap;
      }
    }
    free_from = std::max(free_from, piece.end);
  }
  return best_size == std::numeric_limits<std::size_t>::max() ? free_from : best;
}

}  // namespace

ArenaPlan plan_arena(std::span<const Lifetime> lifetimes) {
  std::vector<std::size_t> order(lifetimes.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    return lifetimes[a].bytes > lifetimes[b].bytes;
  });

  ArenaPlan plan{.offsets = std::vector<std::size_t>(lifetimes.size(), 0), .total = 0};
  std::vector<std::size_t> placed;
  std::vector<Taken> taken;
  for (const std::size_t index : order) {
    const Lifetime& life = lifetimes[index];
    BITLOOM_ASSERT(life.first <= life.last);
    if (life.bytes == 0) continue;
    taken.clear();
    for (const std::size_t other : placed) {
      if (!overlap(life, lifetimes[other])) continue;
      taken.push_back({plan.offsets[other], plan.offsets[other] + aligned(lifetimes[other].bytes)});
    }
    plan.offsets[index] = best_gap(taken, aligned(life.bytes));
    plan.total = std::max(plan.total, plan.offsets[index] + aligned(life.bytes));
    placed.push_back(index);
  }
  return plan;
}

}  // namespace bitloom
