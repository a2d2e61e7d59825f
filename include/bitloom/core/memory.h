// How much memory there is to take, and in what pages.
// Comes from: /proc/meminfo. Goes to: tensor.cpp, datasets/memory.h.
#pragma once

#include <cstddef>
#include <cstdint>

namespace bitloom {

/// Bytes that the system can give without swapping (MemAvailable of /proc/meminfo); 2^62 where it
/// does not say.
std::int64_t available_memory_bytes();

/// Asks for pages of 2 MiB where `bytes` hold some: a pass over a large tensor otherwise waits for
/// the tables of its 4 KiB pages (a training step takes 5 to 11 % longer). Advice: a system without
/// such pages does as before. Linux; nothing elsewhere.
void prefer_large_pages(void* at, std::size_t bytes) noexcept;

}  // namespace bitloom
