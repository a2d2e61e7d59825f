// An exported model of a named network without training: seeded weights, calibrated on seeded
// images. Latency, memory and size do not depend on what the weights are.
// Comes from: models/networks.h, the passes of quantize.h. Goes to: tools (bench --network,
// --suite).
#pragma once

#include <cstdint>
#include <string>

#include "bitloom/integer/model.h"
#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// Which model.
struct SeededModel {
  std::string network;           ///< a built-in network, at the images it was made for
  std::string method = "float";  ///< "float", "ptq-static", "ptq-dynamic", "ptq-weight-only"
  std::string profile;           ///< "" means the CPU's own; not read by float and weight-only
  std::uint64_t seed = 1;
};

/// The configuration that such a model stores: images of the synthetic reader, kCalibrationImages
/// of them for validation, ranges by their ends (observer minmax).
inline constexpr std::int64_t kSeededCalibrationImages = 2;
Config seeded_config(const SeededModel& wanted);

/// Weights are uniform with He et al.'s deviation sqrt(2 / fan_in), biases within +-0.1. Batch
/// norms have gamma in [0.75, 1.25], a fifth of that in front of an add, so that sums of many
/// blocks stay finite; beta and running mean in [-0.2, 0.2], variance in [0.75, 1.5]: what a pass
/// might fold, drop or assume to be 0 or 1 shows. The same seed gives the same model under one CPU
/// and thread count; weights and float models always.
/// @throws ConfigError for an unknown network or a method that needs training; BackendError for a
///         profile that this CPU does not run exactly.
integer::Model seeded_model(const SeededModel& wanted);

}  // namespace bitloom::trainers
