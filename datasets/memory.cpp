#include "memory.h"

#include "bitloom/core/error.h"
#include "bitloom/core/memory.h"

namespace bitloom::datasets {

std::int64_t image_memory_bytes() { return available_memory_bytes() / 2; }

void require_memory(const std::string& place, std::int64_t bytes, std::int64_t most) {
  if (bytes <= most) return;
  throw FormatError(
      {.place = place,
       .expected = cat("images of at most ", most >> 20, " MiB, half of the memory that is free"),
       .found = cat(bytes >> 20, " MiB"),
       .remedy = "lower data.image_size, use a part of the set, or a machine with more memory"});
}

}  // namespace bitloom::datasets
