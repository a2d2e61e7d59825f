#include "roofline.h"

#include <algorithm>
#include <limits>

namespace bitloom::tools {
namespace {

double peak_of(DirectionWork::Unit unit, const kernels::MachinePeaks& peaks) {
  if (unit == DirectionWork::Unit::kInt8) return peaks.int8_gop_per_s;
  return unit == DirectionWork::Unit::kBf16 ? peaks.bf16_gflop_per_s : peaks.f32_gflop_per_s;
}

}  // namespace

Roofline roofline(std::span<const DirectionWork> works, double took_ms,
                  const kernels::MachinePeaks& peaks) {
  double compute_ms = 0.0;
  double memory_ms = 0.0;
  double least_ms = 0.0;
  for (const DirectionWork& work : works) {
    const double peak = peak_of(work.unit, peaks);
    const double compute = work.gflop > 0.0 && peak > 0.0 ? 1e3 * work.gflop / peak : 0.0;
    const double memory = work.mb / peaks.copy_gb_per_s;  // 1e6 bytes over 1e9 a second: ms
    compute_ms += compute;
    memory_ms += memory;
    least_ms += std::max(compute, memory);
  }
  const bool known = least_ms > 0.0 && took_ms > 0.0;
  return {.share = known ? least_ms / took_ms : std::numeric_limits<double>::quiet_NaN(),
          .by_compute = compute_ms > memory_ms};
}

nlohmann::json peaks_json(const kernels::MachinePeaks& peaks) {
  const bool has_bf16 = peaks.bf16_gflop_per_s > 0.0;
  return {{"f32_gflop_per_s", peaks.f32_gflop_per_s},
          {"int8_gop_per_s", peaks.int8_gop_per_s},
          {"bf16_gflop_per_s",
           has_bf16 ? nlohmann::json(peaks.bf16_gflop_per_s) : nlohmann::json(nullptr)},
          {"copy_gb_per_s", peaks.copy_gb_per_s}};
}

}  // namespace bitloom::tools
