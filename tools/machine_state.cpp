#include "machine_state.h"

#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <fstream>
#include <limits>
#include <set>
#include <sstream>
#include <thread>

namespace bitloom::tools {
namespace {

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + 1e-6 * static_cast<double>(time.tv_usec);
}

double own_seconds() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return seconds(used.ru_utime) + seconds(used.ru_stime);
}

nlohmann::json known(double value) {
  return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json(nullptr);
}

nlohmann::json known(const std::string& word) {
  return word.empty() ? nlohmann::json(nullptr) : nlohmann::json(word);
}

// What stands behind the colon of the lines that open with `key`.
template <typename Use>
void for_each_value(std::string_view text, std::string_view key, const Use& use) {
  std::istringstream lines{std::string(text)};
  for (std::string line; std::getline(lines, line);) {
    const std::size_t colon = line.find(':');
    if (line.starts_with(key) && colon != std::string::npos) use(line.substr(colon + 1));
  }
}

}  // namespace

std::string kernel_flags(std::string_view cpuinfo) {
  static const std::set<std::string> matter = {
      "sse4_1",      "avx2",     "fma",      "avx_vnni",    "avx512f",
      "avx512bw",    "avx512vl", "avx512dq", "avx512_vnni", "avx512_bf16",
      "amx_int8",    "amx_bf16", "amx_tile", "gfni",        "avx512_vpopcntdq",
      "avx512_fp16", "asimd",    "asimddp",  "i8mm",        "bf16",
      "sve"};
  std::string flags;
  bool first = true;
  for (const char* key : {"flags", "Features"}) {  // x86, ARM
    for_each_value(cpuinfo, key, [&](const std::string& line) {
      if (!first) return;
      first = false;
      std::istringstream words(line);
      for (std::string word; words >> word;) {
        if (matter.contains(word)) flags += (flags.empty() ? "" : " ") + word;
      }
    });
  }
  return flags;
}

double mean_mhz(std::string_view cpuinfo) {
  double sum = 0.0;
  int cores = 0;
  for_each_value(cpuinfo, "cpu MHz", [&](const std::string& value) {
    sum += std::strtod(value.c_str(), nullptr);
    ++cores;
  });
  return cores == 0 ? kUnknown : sum / cores;
}

double busy_seconds(std::string_view stat, double ticks_per_second) {
  std::istringstream words{std::string(stat.substr(0, stat.find('\n')))};
  std::string name;
  words >> name;
  if (name != "cpu") return kUnknown;
  double busy = 0.0;
  double ticks = 0.0;
  for (int column = 0; column < 8 && words >> ticks; ++column) {
    constexpr int kIdle = 3, kDisk = 4;
    if (column != kIdle && column != kDisk) busy += ticks;
  }
  return busy / ticks_per_second;
}

MachineState machine_state() {
  const std::string cpuinfo = text_of("/proc/cpuinfo");
  MachineState state;
  state.flags = kernel_flags(cpuinfo);
  state.governor = text_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
  std::erase(state.governor, '\n');
  state.mhz = mean_mhz(cpuinfo);
  double averages[1] = {kUnknown};
  if (getloadavg(averages, 1) == 1) state.load_average = averages[0];
  state.busy_seconds =
      busy_seconds(text_of("/proc/stat"), static_cast<double>(sysconf(_SC_CLK_TCK)));
  state.own_seconds = own_seconds();
  state.wall_seconds =
      std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  return state;
}

double share_of_others(const MachineState& before, const MachineState& after, int cores) {
  constexpr double kLeastSeconds = 0.1;
  const double wall = after.wall_seconds - before.wall_seconds;
  if (!(wall >= kLeastSeconds) || cores < 1) return kUnknown;
  const double busy = after.busy_seconds - before.busy_seconds;
  const double own = after.own_seconds - before.own_seconds;
  if (!std::isfinite(busy)) return kUnknown;
  return std::clamp((busy - own) / (wall * cores), 0.0, 1.0);
}

nlohmann::json machine_state_json(const MachineState& before, const MachineState& after) {
  const auto cores = static_cast<int>(std::thread::hardware_concurrency());
  return {{"cpu_flags", known(after.flags)},
          {"governor", known(after.governor)},
          {"mhz_before", known(before.mhz)},
          {"mhz_after", known(after.mhz)},
          {"load_average", known(before.load_average)},
          {"others_cpu_share", known(share_of_others(before, after, cores))}};
}

bool is_noisy(double p50_ms, double p90_ms, double others_share) {
  return others_share > kQuietShare || p90_ms > kQuietSpread * p50_ms;
}

}  // namespace bitloom::tools
