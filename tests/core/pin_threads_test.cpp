#include "bitloom/core/pin_threads.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <algorithm>
#include <array>
#include <thread>

#include "bitloom/core/parallel.h"

namespace bitloom {
namespace {

// How many cores the calling thread may run on.
int cores() {
  cpu_set_t found;
  CPU_ZERO(&found);
  EXPECT_EQ(sched_getaffinity(0, sizeof(found), &found), 0);
  return CPU_COUNT(&found);
}

// Binds in a thread of its own: the binding ends with it and its team.
TEST(PinThreads, EachStaysOnOneCoreAndUnpinnedOnesRoam) {
  const int before = cores();
  std::thread bound([&] {
    set_threads(2);
    EXPECT_EQ(pin_threads(), std::min(before, 2));
    std::array<int, 2> each{};
    parallel_for(2, 1, [&](std::int64_t, std::int64_t, int piece) {
      each.at(static_cast<std::size_t>(piece)) = cores();
    });
    EXPECT_EQ(each, (std::array<int, 2>{1, 1}));
    std::thread inherits([&] {
      EXPECT_EQ(cores(), 1);
      {
        const Unpinned roams;
        EXPECT_EQ(cores(), before);
      }
      EXPECT_EQ(cores(), 1);
    });
    inherits.join();
    set_threads(0);
  });
  bound.join();
  EXPECT_EQ(cores(), before);
}

}  // namespace
}  // namespace bitloom
