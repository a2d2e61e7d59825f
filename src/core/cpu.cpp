#include "bitloom/core/cpu.h"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <fstream>
#include <sstream>

#include "bitloom/core/error.h"

namespace bitloom {
namespace {

struct IsaRow {
  Isa isa;
  std::string_view word;
};

constexpr std::array<IsaRow, 6> kIsas{{{Isa::kOther, "other"},
                                       {Isa::kSse41, "sse41"},
                                       {Isa::kAvx2, "avx2"},
                                       {Isa::kAvx512, "avx512"},
                                       {Isa::kAvx512Vnni, "avx512_vnni"},
                                       {Isa::kAvx512Amx, "avx512_amx"}}};
constexpr std::array<IsaRow, 2> kShortIsas{{{Isa::kAvx512Vnni, "vnni"}, {Isa::kAvx512Amx, "amx"}}};

/// Value of the first /proc/cpuinfo line whose key is `key`; empty if there is none.
std::string cpuinfo_value(const std::string& key) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const std::size_t colon = line.find(':');
    if (colon == std::string::npos || line.compare(0, key.size(), key) != 0) continue;
    const std::size_t end = line.find_last_not_of(" \t", colon - 1);
    if (end + 1 != key.size()) continue;
    const std::size_t begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

#if defined(__x86_64__)
/// The kernel lists AMX only where it also saves the tile registers, which CPUID does not tell.
bool has_amx_int8() {
  std::istringstream flags(cpuinfo_value("flags"));
  bool tile = false;
  bool int8 = false;
  for (std::string flag; flags >> flag;) {
    tile = tile || flag == "amx_tile";
    int8 = int8 || flag == "amx_int8";
  }
  return tile && int8;
}

Isa probe() {
  if (!__builtin_cpu_supports("sse4.1")) return Isa::kOther;
  // Highway's AVX2 kernels use FMA and BMI2 as well.
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
      !__builtin_cpu_supports("bmi2")) {
    return Isa::kSse41;
  }
  if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
      !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vl")) {
    return Isa::kAvx2;
  }
  if (!__builtin_cpu_supports("avx512vnni")) return Isa::kAvx512;
  return has_amx_int8() ? Isa::kAvx512Amx : Isa::kAvx512Vnni;
}
#else
Isa probe() { return Isa::kOther; }
#endif

void require_present(const char* place, Isa isa) {
  const bool is_x86_step = isa != Isa::kOther || detected_isa() == Isa::kOther;
  if (is_x86_step && isa <= detected_isa()) return;
  throw ConfigError({.place = place,
                     .expected = cat("at most ", to_word(detected_isa()), ", what this CPU has"),
                     .found = std::string(to_word(isa)),
                     .remedy = "choose a weaker one or leave it out"});
}

/// The cap of cap_isa(), else of BITLOOM_ISA, else the machine's best.
Isa& cap() {
  static Isa value = [] {
    const char* word = std::getenv("BITLOOM_ISA");
    if (word == nullptr || *word == '\0') return detected_isa();
    const Isa isa = isa_from_word(word);
    require_present("BITLOOM_ISA", isa);
    return isa;
  }();
  return value;
}

}  // namespace

std::string_view to_word(Isa isa) { return kIsas[static_cast<std::size_t>(isa)].word; }

std::vector<std::string> isa_words() {
  std::vector<std::string> words;
  for (const IsaRow& row : kIsas) words.emplace_back(row.word);
  for (const IsaRow& row : kShortIsas) words.emplace_back(row.word);
  return words;
}

Isa isa_from_word(std::string_view word) {
  std::string known;
  const auto is_named = [&](const IsaRow& row) {
    known += (known.empty() ? "" : ", ") + std::string(row.word);
    return row.word == word;
  };
  for (const IsaRow& row : kIsas) {
    if (is_named(row)) return row.isa;
  }
  for (const IsaRow& row : kShortIsas) {
    if (is_named(row)) return row.isa;
  }
  throw ConfigError({.place = "isa",
                     .expected = "one of " + known,
                     .found = "'" + std::string(word) + "'",
                     .remedy = ""});
}

Isa detected_isa() {
  static const Isa isa = probe();
  return isa;
}

Isa effective_isa() { return std::min(detected_isa(), cap()); }

void cap_isa(Isa isa) {
  require_present("isa", isa);
  cap() = isa;
}

bool has_exact_u8s8(Isa isa) {
  return isa == Isa::kOther || isa == Isa::kAvx512Vnni || isa == Isa::kAvx512Amx;
}

bool has_bf16(Isa isa) {
#if defined(__x86_64__)
  // Under a cap below the machine's best, oneDNN stops at a step that has no bf16.
  return isa == detected_isa() && isa >= Isa::kAvx512Vnni && __builtin_cpu_supports("avx512bf16");
#else
  return false && isa == detected_isa();
#endif
}

std::string cpu_name() {
  for (const char* key : {"model name", "Model", "Hardware"}) {
    const std::string name = cpuinfo_value(key);
    if (!name.empty()) return name;
  }
  return "unknown";
}

}  // namespace bitloom
