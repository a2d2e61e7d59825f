// Runs tests of this executable again in child processes under each weaker ISA cap: oneDNN reads
// its cap once per process.
#pragma once

#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>
#include <vector>

#include "bitloom/core/cpu.h"

namespace bitloom {

/// Steps from avx2 to what the machine has; empty where the machine is not x86 or has no AVX2.
inline std::vector<Isa> isa_caps() {
  std::vector<Isa> caps;
  for (const Isa isa : {Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Amx}) {
    if (isa <= detected_isa()) caps.push_back(isa);
  }
  return caps;
}

struct ChildResult {
  int status = -1;  ///< exit status; -1 if it did not start
  std::string output;
};

/// This executable with --gtest_filter=`filter` under BITLOOM_ISA=`isa`.
inline ChildResult run_capped(Isa isa, const std::string& filter) {
  std::array<char, 4096> path{};
  if (::readlink("/proc/self/exe", path.data(), path.size() - 1) <= 0) return {};
  // Passive waits: children share the cores with other tests.
  const std::string command = "OMP_WAIT_POLICY=passive BITLOOM_ISA=" + std::string(to_word(isa)) +
                              " '" + path.data() + "' --gtest_filter='" + filter + "' 2>&1";
  FILE* pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return {};
  ChildResult result;
  std::array<char, 4096> piece{};
  while (const std::size_t count = std::fread(piece.data(), 1, piece.size(), pipe)) {
    result.output.append(piece.data(), count);
  }
  result.status = ::pclose(pipe);
  return result;
}

}  // namespace bitloom
