#include "lap_mean.h"

#include <algorithm>
#include <numeric>

namespace bitloom::tools {

std::vector<double> mean_laps(std::span<const LapClock> runs) {
  std::vector<std::size_t> order(runs.size());
  std::iota(order.begin(), order.end(), 0U);
  std::sort(order.begin(), order.end(),
            [&](std::size_t a, std::size_t b) { return runs[a].total_ms() < runs[b].total_ms(); });
  const std::size_t cut = runs.size() / 4;
  const std::size_t rows = runs.front().nodes() + 1;
  std::vector<double> mean(rows * kLaps);
  for (std::size_t i = cut; i < runs.size() - cut; ++i) {
    for (std::size_t at = 0; at < mean.size(); ++at) {
      mean[at] += runs[order[i]].ms(at / kLaps, static_cast<Lap>(at % kLaps));
    }
  }
  for (double& ms : mean) ms /= static_cast<double>(runs.size() - 2 * cut);
  return mean;
}

}  // namespace bitloom::tools
