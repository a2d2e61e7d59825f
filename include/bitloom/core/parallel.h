// Threads: OpenMP with static schedules, so that a sum's order depends on the thread count alone.
#pragma once

#include <algorithm>
#include <cstdint>

namespace bitloom {

/// Sets the thread count of every later parallel region, oneDNN's included; 0 means all cores.
/// @throws ConfigError for a count outside 0 .. 256.
void set_threads(int count);
int threads();

/// Cuts [0, count) into threads() contiguous pieces and runs `body(begin, end, piece)` on each.
/// Pieces depend on count and threads() alone. `grain` is the least useful piece: below it one
/// thread does all. @pre body does not throw.
template <typename Body>
void parallel_for(std::int64_t count, std::int64_t grain, const Body& body) {
  const std::int64_t most = grain > 0 ? (count + grain - 1) / grain : count;
  const std::int64_t pieces = std::clamp<std::int64_t>(most, 1, threads());
  if (pieces == 1) {
    body(std::int64_t{0}, count, 0);
    return;
  }
#pragma omp parallel for schedule(static, 1) num_threads(static_cast <int>(pieces))
  for (std::int64_t piece = 0; piece < pieces; ++piece) {
    body(count * piece / pieces, count * (piece + 1) / pieces, static_cast<int>(piece));
  }
}

}  // namespace bitloom
