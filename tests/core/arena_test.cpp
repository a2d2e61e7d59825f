#include "bitloom/core/arena.h"

#include <gtest/gtest.h>

#include "bitloom/core/random.h"
#include "bitloom/core/tensor.h"

namespace bitloom {
namespace {

TEST(Arena, ChainOfEqualBuffersNeedsTwo) {
  const std::vector<Lifetime> chain{{128, 0, 1}, {128, 1, 2}, {128, 2, 3}, {128, 3, 4}};
  const ArenaPlan plan = plan_arena(chain);
  EXPECT_EQ(plan.total, 256U);
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
  EXPECT_EQ(plan.offsets[1], plan.offsets[3]);
}

TEST(Arena, RoundsToCacheLinesAndSkipsEmptyBuffers) {
  const std::vector<Lifetime> lives{{1, 0, 3}, {0, 0, 3}, {65, 0, 3}};
  const ArenaPlan plan = plan_arena(lives);
  EXPECT_EQ(plan.total, 192U);
  EXPECT_EQ(plan.offsets[2], 0U);  // largest first
  EXPECT_EQ(plan.offsets[0], 128U);
}

TEST(Arena, FillsTheSmallestGapThatFits) {
  // By size at step 0: 512 at [0, 512), 256 at [512, 768), 128 at [768, 896), 64 at [896, 960).
  // At step 1 the 256 and the 64 live on, which leaves gaps of 512 and of 128 bytes.
  const std::vector<Lifetime> lives{{512, 0, 0}, {256, 0, 1}, {128, 0, 0}, {64, 0, 1}, {60, 1, 1}};
  const ArenaPlan plan = plan_arena(lives);
  EXPECT_EQ(plan.total, 960U);
  EXPECT_EQ(plan.offsets[4], 768U);
}

TEST(Arena, NothingGivesNothing) { EXPECT_EQ(plan_arena({}).total, 0U); }

// Property: buffers alive together never share a byte; offsets are aligned; the block is no larger
// than all buffers side by side and no smaller than the fullest step.
TEST(Arena, NeverOverlapsLiveBuffers) {
  std::size_t pairs = 0;
  for (std::uint64_t round = 0; round < 50; ++round) {
    const RandomStream random(round, "arena");
    std::vector<Lifetime> lives;
    for (std::uint64_t i = 0; i < 40; ++i) {
      const int first = static_cast<int>(random.below(3 * i, 20));
      const int length = static_cast<int>(random.below(3 * i + 1, 8));
      lives.push_back({random.below(3 * i + 2, 5000), first, first + length});
    }
    const ArenaPlan plan = plan_arena(lives);
    ASSERT_EQ(plan.offsets.size(), lives.size());
    std::size_t sum = 0;
    for (std::size_t a = 0; a < lives.size(); ++a) {
      EXPECT_EQ(plan.offsets[a] % Tensor::kAlignment, 0U);
      EXPECT_LE(plan.offsets[a] + lives[a].bytes, plan.total);
      sum += (lives[a].bytes + 63) / 64 * 64;
      for (std::size_t b = 0; b < a; ++b) {
        if (lives[a].first > lives[b].last || lives[b].first > lives[a].last) continue;
        if (lives[a].bytes == 0 || lives[b].bytes == 0) continue;
        ++pairs;
        EXPECT_TRUE(plan.offsets[a] + lives[a].bytes <= plan.offsets[b] ||
                    plan.offsets[b] + lives[b].bytes <= plan.offsets[a]);
      }
    }
    EXPECT_LE(plan.total, sum);
    for (int step = 0; step < 28; ++step) {
      std::size_t alive = 0;
      for (const Lifetime& life : lives) {
        if (life.first <= step && step <= life.last) alive += life.bytes;
      }
      EXPECT_GE(plan.total, alive);
    }
  }
  EXPECT_GT(pairs, 1000U);  // the property was looked at
}

}  // namespace
}  // namespace bitloom
