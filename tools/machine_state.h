// What a measurement must say of the machine: its CPU, how fast it runs, who else uses it.
// Goes to: bench_models.cpp.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace bitloom::tools {

/// Of one moment. Unknown where the system does not tell: "", NaN or 0.
struct MachineState {
  std::string flags;          ///< the CPU's that decide which kernels run: "avx2 fma avx512f ..."
  std::string governor;       ///< of the first core: "performance"
  double mhz = 0.0;           ///< mean over the cores
  double load_average = 0.0;  ///< of the last minute
  double busy_seconds = 0.0;  ///< of all cores since start-up, whoever used them
  double own_seconds = 0.0;   ///< of this process
  double wall_seconds = 0.0;  ///< a steady clock
};
MachineState machine_state();

/// Share of the cores' time between two moments that others used, 0 .. 1; NaN where the system does
/// not tell, or where the moments are less than 10 of its clock ticks (0.1 s) apart.
double share_of_others(const MachineState& before, const MachineState& after, int cores);

/// Rows' keys: cpu_flags, governor, mhz_before, mhz_after, load_average, others_cpu_share; null
/// where unknown.
nlohmann::json machine_state_json(const MachineState& before, const MachineState& after);

/// A run of which more than this share of the machine went to others is noisy, and so is one whose
/// 90th percentile is further than this above its median.
inline constexpr double kQuietShare = 0.1;
inline constexpr double kQuietSpread = 1.25;
bool is_noisy(double p50_ms, double p90_ms, double others_share);

/// Of /proc/cpuinfo: those of its first core's flags that matter, in its order.
std::string kernel_flags(std::string_view cpuinfo);
/// Mean of its "cpu MHz" lines; NaN without.
double mean_mhz(std::string_view cpuinfo);
/// Seconds of the first line of /proc/stat but idle and waiting for disks; NaN if there is none.
double busy_seconds(std::string_view stat, double ticks_per_second);

}  // namespace bitloom::tools
