// Work of a layer beside what the machine could do at its best.
// Comes from: kernels/machine_peaks.h. Goes to: step_profile.h (training), session_profile.h
// (exported models).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>

#include "bitloom/kernels/machine_peaks.h"

namespace bitloom::tools {

/// What a layer (in training: one direction of it) has to do, and what it took.
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

/// How near a layer comes to its roof: the least time that the machine's peaks allow, each work
/// max(gflop / peak, mb / copy rate), over the time it took. Tensors that stay in a cache move
/// faster than a copy of memory: then memory's share may exceed 1.
struct Roofline {
  double share = 0.0;       ///< NaN where there is nothing to do or it took no time
  bool by_compute = false;  ///< else memory decides the least time
};
/// `took_ms` in all.
Roofline roofline(std::span<const DirectionWork> works, double took_ms,
                  const kernels::MachinePeaks& peaks);

/// f32_gflop_per_s, int8_gop_per_s, bf16_gflop_per_s (null without), copy_gb_per_s.
nlohmann::json peaks_json(const kernels::MachinePeaks& peaks);

}  // namespace bitloom::tools
