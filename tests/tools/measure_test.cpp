#include "measure.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

namespace bitloom::tools {
namespace {

TEST(Quantile, InterpolatesBetweenNeighbours) {
  EXPECT_EQ(quantile({3, 1, 2}, 0.5), 2.0);
  EXPECT_EQ(quantile({4, 1, 3, 2}, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile({10, 0}, 0.9), 9.0);
  EXPECT_EQ(quantile({5}, 0.9), 5.0);
  EXPECT_EQ(quantile({1, 2, 3}, 1.0), 3.0);
  EXPECT_EQ(quantile({1, 2, 3}, 0.0), 1.0);
  EXPECT_TRUE(std::isnan(quantile({}, 0.5)));
}

TEST(StatusBytes, ReadsTheLineOfItsKeyAlone) {
  const char* status = "Name:\tVmRSS: 5 kB\nVmHWM:\t  2048 kB\nVmRSS:\t 1024 kB\nEnd";
  EXPECT_EQ(status_bytes(status, "VmHWM"), 2048 * 1024);
  EXPECT_EQ(status_bytes(status, "VmRSS"), 1024 * 1024);
  EXPECT_EQ(status_bytes(status, "VmSwap"), 0);
  EXPECT_EQ(status_bytes("", "VmRSS"), 0);
}

TEST(ProcessMemory, PeakFollowsALargeAllocation) {
  const ProcessMemory before = process_memory();
  constexpr std::size_t kBytes = std::size_t{64} << 20;
  {
    std::vector<char> block(kBytes, 1);
    EXPECT_EQ(block[kBytes / 2], 1);
  }
  const ProcessMemory after = process_memory();
  ASSERT_GT(before.resident_bytes, 0);
  // The kernel's counters lag by some pages a thread: 20 KiB were missing once.
  EXPECT_GE(after.peak_bytes, before.resident_bytes + static_cast<std::int64_t>(kBytes * 95 / 100));
}

}  // namespace
}  // namespace bitloom::tools
