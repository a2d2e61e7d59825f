// Where the time of a training step goes: by phase, and by layer beside the machine's peaks.
// Comes from: core/lap_clock.h, layers/network.h, kernels/machine_peaks.h. Goes to:
// bench_training.cpp.
#pragma once

#include <array>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "bitloom/core/lap_clock.h"
#include "bitloom/kernels/machine_peaks.h"
#include "bitloom/layers/network.h"
#include "roofline.h"

namespace bitloom::tools {

/// One layer: forward, gradient of its inputs, gradient of its weights. What prepares its weights
/// (fake quantization forward and backward, packing) counts to it.
struct LayerProfile {
  std::string layer;
  std::string op;
  std::string output;  ///< "128x16x32x32"
  DirectionWork forward;
  DirectionWork backward_data;
  DirectionWork backward_weights;
  double preparation_ms = 0.0;
  double elementwise_ms = 0.0;  ///< conversions around a product, sums of gradients

  double gflop() const;
  double mb() const;
  double ms() const;
};

Roofline roofline(const LayerProfile& layer, const kernels::MachinePeaks& peaks);

struct StepProfile {
  std::array<double, kLaps> phase_ms{};  ///< by Lap; they sum up to step_ms
  double step_ms = 0.0;
  std::vector<LayerProfile> layers;  ///< in the graph's order, without input and parameters

  double gflop() const;
  double mb() const;
};

/// Mean of the steps whose time lies in the middle half. Phases: forward and backward are those of
/// products (convolutions, linear layers); what other layers do, forward and backward, is
/// elementwise; weight_preparation is what nodes do that only parameters feed, and packing.
/// `bf16`: products that are neither depthwise nor of codes multiply in bf16.
/// @pre at least one clock, each of `network`'s nodes.
StepProfile profile_of(const layers::Network& network, std::span<const LapClock> steps, bool bf16);

/// {"forward": ms, ...}: every word of Lap.
nlohmann::json phase_json(const StepProfile& profile);
/// One object a layer: layer, op, output, gflop, mb, forward_ms, backward_data_ms,
/// backward_weights_ms, preparation_ms, elementwise_ms, share_of_peak, limit ("compute" or
/// "memory").
nlohmann::json layers_json(const StepProfile& profile, const kernels::MachinePeaks& peaks);

std::string phase_table(const StepProfile& profile);
std::string layer_table(const StepProfile& profile, const kernels::MachinePeaks& peaks);

}  // namespace bitloom::tools
