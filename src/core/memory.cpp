#include "bitloom/core/memory.h"

#include <fstream>
#include <limits>
#include <string>

namespace bitloom {

std::int64_t available_memory_bytes() {
  std::ifstream file("/proc/meminfo");
  std::string word;
  std::int64_t kibibytes = 0;
  while (file >> word) {
    if (word == "MemAvailable:" && file >> kibibytes) return kibibytes * 1024;
    file.ignore(std::numeric_limits<std::streamsize>::max(), '\n');
  }
  return std::int64_t{1} << 62;
}

}  // namespace bitloom
