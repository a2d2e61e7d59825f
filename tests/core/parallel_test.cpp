#include "bitloom/core/parallel.h"

#include <gtest/gtest.h>

#include <array>
#include <atomic>
#include <vector>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom {
namespace {

class ParallelTest : public ::testing::TestWithParam<int> {
 protected:
  void SetUp() override { set_threads(GetParam()); }
  void TearDown() override { set_threads(0); }
};

TEST_P(ParallelTest, CoversEachIndexOnce) {
  for (const std::int64_t count : {0, 1, 2, 7, 64, 1001}) {
    std::vector<std::atomic<int>> visits(static_cast<std::size_t>(count));
    parallel_for(count, 1, [&](std::int64_t begin, std::int64_t end, int) {
      for (std::int64_t i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
    });
    for (const auto& visit : visits) ASSERT_EQ(visit, 1);
  }
}

TEST_P(ParallelTest, PiecesDependOnCountAndThreadsAlone) {
  std::array<std::int64_t, 8> begins{};
  std::atomic<int> pieces{0};
  parallel_for(100, 1, [&](std::int64_t begin, std::int64_t, int piece) {
    begins.at(static_cast<std::size_t>(piece)) = begin;
    ++pieces;
  });
  EXPECT_EQ(pieces, GetParam());
  for (int piece = 0; piece < pieces; ++piece) {
    EXPECT_EQ(begins.at(static_cast<std::size_t>(piece)), 100 * piece / GetParam());
  }
}

TEST_P(ParallelTest, GrainKeepsSmallWorkTogether) {
  std::atomic<int> pieces{0};
  parallel_for(100, 100, [&](std::int64_t begin, std::int64_t end, int piece) {
    EXPECT_EQ(begin, 0);
    EXPECT_EQ(end, 100);
    EXPECT_EQ(piece, 0);
    ++pieces;
  });
  EXPECT_EQ(pieces, 1);
}

INSTANTIATE_TEST_SUITE_P(Threads, ParallelTest, ::testing::Values(1, 2, 5),
                         ::testing::PrintToStringParamName());

TEST(SetThreads, RefusesOtherCounts) {
  EXPECT_ERROR(ConfigError, set_threads(-1), "threads", "0 (all cores) to 256", "found -1");
  EXPECT_ERROR(ConfigError, set_threads(257), "found 257");
  set_threads(3);
  EXPECT_EQ(threads(), 3);
  set_threads(0);
  EXPECT_GE(threads(), 1);
}

}  // namespace
}  // namespace bitloom
