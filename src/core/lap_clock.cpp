#include "bitloom/core/lap_clock.h"

#include <algorithm>
#include <array>
#include <numeric>

#include "bitloom/core/error.h"

namespace bitloom {
namespace {

constexpr std::array<std::string_view, kLaps> kWords = {
    "forward",     "backward_data", "backward_weights", "weight_preparation",
    "elementwise", "loss",          "optimizer",        "data"};

}  // namespace

std::string_view to_word(Lap lap) { return kWords[static_cast<std::size_t>(lap)]; }

void LapClock::start() {
  std::fill(ms_.begin(), ms_.end(), 0.0);
  leave();
  last_ = std::chrono::steady_clock::now();
}

void LapClock::enter(std::size_t node) {
  BITLOOM_ASSERT(node <= nodes_);
  node_ = node;
}

void LapClock::lap(Lap kind) {
  const std::chrono::steady_clock::time_point now = std::chrono::steady_clock::now();
  ms_[node_ * kLaps + static_cast<std::size_t>(kind)] +=
      std::chrono::duration<double, std::milli>(now - last_).count();
  last_ = now;
}

double LapClock::total_ms() const { return std::accumulate(ms_.begin(), ms_.end(), 0.0); }

}  // namespace bitloom
