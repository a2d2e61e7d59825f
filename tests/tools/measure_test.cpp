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
  // The kernel folds a thread's count in every 64 pages (256 KiB): a few threads may lag.
  constexpr std::int64_t kLag = std::int64_t{1} << 20;
  EXPECT_GE(after.peak_bytes, before.resident_bytes + static_cast<std::int64_t>(kBytes) - kLag);
}

}  // namespace
}  // namespace bitloom::tools
