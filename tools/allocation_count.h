// Heap allocations of the running program, counted.
// Goes to: bench_training.cpp.
#pragma once

#include <cstdint>

namespace bitloom::tools {

/// Calls of operator new (every form, all threads) since the program began, by who called: code in
/// oneDNN's shared library, which makes small tables when a primitive runs, or anyone else. All
/// containers and tensors of bitloom come from operator new. Not counted: malloc as C libraries
/// call it (oneDNN's own buffers, which it gets when a primitive is made; the OpenMP runtime's).
struct AllocationCount {
  std::int64_t ours = 0;    ///< and the C++ library's for us
  std::int64_t onednn = 0;  ///< 0 if oneDNN is linked statically: then `ours` holds all
};

/// Linking this replaces the program's operator new by one that counts: one atomic addition a call.
AllocationCount allocation_count() noexcept;

/// False under clang's thread sanitizer, which brings operators of its own: all counts are 0.
bool counts_allocations() noexcept;

}  // namespace bitloom::tools
