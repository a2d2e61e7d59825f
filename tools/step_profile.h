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

namespace bitloom::tools {

/// What one direction of a layer has to do, and what it took.
///
/// gflop: 2 for each multiply-add of a convolution or linear layer, taps in the padding included;
///   0 for other layers, which are taken to wait for memory alone.
/// mb: 1e6 bytes, each tensor moved once: what is read and written at the least.
struct DirectionWork {
  enum class Unit : std::uint8_t {
    kF32,
    kBf16,
    kInt8
  } unit = Unit::kF32;  ///< of the multiply-adds
  double gflop = 0.0;
  double mb = 0.0;
  double ms = 0.0;
};

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

/// How near a layer comes to its roof: the least time that the machine's peaks allow, each
/// direction max(gflop / peak, mb / copy rate), over the time it took. Tensors that stay in a cache
/// move faster than a copy of memory: then memory's share may exceed 1.
struct Roofline {
  double share = 0.0;       ///< NaN where the layer has nothing to do or took no time
  bool by_compute = false;  ///< else memory decides the least time
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
/// f32_gflop_per_s, int8_gop_per_s, bf16_gflop_per_s (null without), copy_gb_per_s.
nlohmann::json peaks_json(const kernels::MachinePeaks& peaks);
/// One object a layer: layer, op, output, gflop, mb, forward_ms, backward_data_ms,
/// backward_weights_ms, preparation_ms, elementwise_ms, share_of_peak, limit ("compute" or
/// "memory").
nlohmann::json layers_json(const StepProfile& profile, const kernels::MachinePeaks& peaks);

std::string phase_table(const StepProfile& profile);
std::string layer_table(const StepProfile& profile, const kernels::MachinePeaks& peaks);

}  // namespace bitloom::tools
