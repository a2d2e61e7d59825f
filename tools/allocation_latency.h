// What chosen widths cost in time on this machine.
// Comes from: bits_commands.cpp (`allocate --latency`). Goes to: the same.
#pragma once

#include <filesystem>
#include <vector>

#include "bitloom/trainers/config.h"
#include "measure.h"

namespace bitloom::tools {

/// Quantizes the float checkpoint after training by each configuration, exports it, and times the
/// models in turns, one image a run, on the oneDNN backend.
std::vector<Latency> latency_of_widths(const std::filesystem::path& checkpoint,
                                       const std::vector<trainers::Config>& configs,
                                       std::int64_t runs);

}  // namespace bitloom::tools
