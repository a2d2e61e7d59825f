#include "bitloom/core/lap_clock.h"

#include <gtest/gtest.h>

#include <chrono>
#include <set>

namespace bitloom {
namespace {

using Clock = std::chrono::steady_clock;

void spend(double ms) {
  const Clock::time_point begin = Clock::now();
  while (std::chrono::duration<double, std::milli>(Clock::now() - begin).count() < ms) {
  }
}

TEST(LapClock, LapsBelongToTheNodeAndSumUpToTheStep) {
  LapClock clock(2);
  const Clock::time_point begin = Clock::now();
  clock.start();
  clock.enter(0);
  spend(2.0);
  clock.lap(Lap::kForward);
  clock.enter(1);
  clock.lap(Lap::kForward);
  spend(1.0);
  clock.lap(Lap::kBackwardWeights);
  spend(1.0);
  clock.lap(Lap::kBackwardWeights);
  clock.leave();
  spend(1.0);
  clock.lap(Lap::kLoss);
  const double whole = std::chrono::duration<double, std::milli>(Clock::now() - begin).count();

  EXPECT_GE(clock.ms(0, Lap::kForward), 2.0);
  EXPECT_GT(clock.ms(1, Lap::kForward), 0.0);
  EXPECT_GE(clock.ms(1, Lap::kBackwardWeights), 2.0) << "laps of one kind add up";
  EXPECT_GE(clock.outside_ms(Lap::kLoss), 1.0);
  EXPECT_EQ(clock.outside_ms(Lap::kForward), 0.0);
  EXPECT_GE(clock.total_ms(), 5.0);
  EXPECT_LE(clock.total_ms(), whole);
}

TEST(LapClock, StartForgetsTheStepBefore) {
  LapClock clock(1);
  clock.start();
  clock.enter(0);
  spend(1.0);
  clock.lap(Lap::kForward);
  clock.start();
  EXPECT_EQ(clock.total_ms(), 0.0);
  clock.lap(Lap::kData);
  EXPECT_EQ(clock.ms(0, Lap::kForward), 0.0);
  EXPECT_GT(clock.outside_ms(Lap::kData), 0.0) << "start() leaves the node";
}

TEST(LapClock, NoClockTakesNoLap) { lap(nullptr, Lap::kForward); }

TEST(LapClock, EveryKindHasItsWord) {
  std::set<std::string_view> words;
  for (std::size_t kind = 0; kind < kLaps; ++kind) words.insert(to_word(static_cast<Lap>(kind)));
  EXPECT_EQ(words.size(), kLaps);
  EXPECT_EQ(to_word(Lap::kData), "data");
}

}  // namespace
}  // namespace bitloom
