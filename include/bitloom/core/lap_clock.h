// Where the time of a step goes: laps of one clock, by node and by kind of work.
// Comes from: tools (bench). Goes to: layers/network.h, train/step.h, backends/session.h, which
// take a null pointer where nobody measures.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace bitloom {

/// Kinds of work in a training step, or in a run of an exported model (kForward and kData alone).
enum class Lap : std::uint8_t {
  kForward,
  kBackwardData,       ///< gradient of the inputs; layers without weights: their whole backward
  kBackwardWeights,    ///< gradient of weights and bias
  kWeightPreparation,  ///< packing of weight codes, scales of a product
  kElementwise,        ///< conversions around a product, sums of gradients
  kLoss,
  kOptimizer,
  kData,
};
inline constexpr std::size_t kLaps = 8;
std::string_view to_word(Lap lap);  ///< "forward", "backward_data", ...

/// Milliseconds of one step, by node and kind. Each lap() takes the time since the one before it
/// (or since start()), so that the laps of a step sum up to its time, and nothing is left over.
/// One lap reads the clock once (about 25 ns). Not for several threads at a time.
class LapClock {
 public:
  /// For nodes 0 .. nodes-1; allocates here alone.
  explicit LapClock(std::size_t nodes) : ms_((nodes + 1) * kLaps), node_(nodes), nodes_(nodes) {}

  /// Forgets all times; the first lap begins now, outside of every node.
  void start();
  /// Laps belong to `node` from here on. @pre node <= nodes; `nodes` itself is outside of all.
  void enter(std::size_t node);
  void leave() { enter(nodes_); }
  void lap(Lap kind);

  std::size_t nodes() const { return nodes_; }
  double ms(std::size_t node, Lap kind) const {
    return ms_[node * kLaps + static_cast<std::size_t>(kind)];
  }
  /// Of laps outside of every node.
  double outside_ms(Lap kind) const { return ms(nodes_, kind); }
  double total_ms() const;

 private:
  std::vector<double> ms_;  // [nodes + 1, kLaps]
  std::size_t node_;
  std::size_t nodes_;
  std::chrono::steady_clock::time_point last_;
};

/// lap() of a clock that may be null.
inline void lap(LapClock* clock, Lap kind) {
  if (clock != nullptr) clock->lap(kind);
}

}  // namespace bitloom
