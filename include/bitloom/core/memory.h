// How much memory there is to take.
// Comes from: /proc/meminfo. Goes to: tensor.cpp, datasets/memory.h.
#pragma once

#include <cstdint>

namespace bitloom {

/// Bytes that the system can give without swapping (MemAvailable of /proc/meminfo); 2^62 where it
/// does not say.
std::int64_t available_memory_bytes();

}  // namespace bitloom
