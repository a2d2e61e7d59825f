#include "bitloom/core/memory.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <fstream>
#include <string>

#include "bitloom/core/tensor.h"

namespace bitloom {
namespace {

// The flags that Linux shows for the mapping that holds an address: "hg" was advised.
std::string flags_of_mapping(const void* address) {
  std::ifstream maps("/proc/self/smaps");
  bool inside = false;
  for (std::string line; std::getline(maps, line);) {
    unsigned long begin = 0, end = 0;
    if (std::sscanf(line.c_str(), "%lx-%lx ", &begin, &end) == 2) {
      const auto at = reinterpret_cast<std::uintptr_t>(address);
      inside = begin <= at && at < end;
    }
    if (inside && line.starts_with("VmFlags:")) return line + " ";
  }
  return "";
}

TEST(LargePages, AreAskedForByLargeTensorsAlone) {
  if (!std::ifstream("/sys/kernel/mm/transparent_hugepage/enabled").good()) {
    GTEST_SKIP() << "this system has no large pages";
  }
  Tensor large(DType::kU8, {std::int64_t{16} << 20});
  EXPECT_NE(flags_of_mapping(large.data<std::uint8_t>() + (8 << 20)).find(" hg "),
            std::string::npos);
  Tensor small(DType::kU8, {std::int64_t{1} << 20});
  EXPECT_EQ(flags_of_mapping(small.data<std::uint8_t>() + (1 << 19)).find(" hg "),
            std::string::npos);
}

}  // namespace
}  // namespace bitloom
