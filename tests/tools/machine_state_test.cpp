#include "machine_state.h"

#include <gtest/gtest.h>

#include <cmath>

namespace bitloom::tools {
namespace {

constexpr const char* kCpuInfo =
    "processor\t: 0\nmodel name\t: Some CPU\ncpu MHz\t\t: 2000.000\n"
    "flags\t\t: fpu vme avx2 smep avx512_vnni\n"
    "processor\t: 1\ncpu MHz\t\t: 3000.000\nflags\t\t: fpu avx2\n";

TEST(MachineState, ReadsFlagsAndFrequency) {
  EXPECT_EQ(kernel_flags(kCpuInfo), "avx2 avx512_vnni");
  EXPECT_EQ(kernel_flags("Features\t: fp asimd asimddp\n"), "asimd asimddp");
  EXPECT_EQ(mean_mhz(kCpuInfo), 2500.0);
  EXPECT_TRUE(std::isnan(mean_mhz("processor : 0\n")));
}

// user 100, nice 20, system 30, (idle 4000, iowait 500,) irq 1, softirq 2, steal 47: 200 ticks.
TEST(MachineState, LeavesIdleTimeOut) {
  EXPECT_EQ(busy_seconds("cpu  100 20 30 4000 500 1 2 47 9 9\ncpu0 1 1\n", 100.0), 2.0);
  EXPECT_TRUE(std::isnan(busy_seconds("", 100.0)));
}

// 10 s of two cores: 12 of the 20 seconds busy, 10 of them ours.
TEST(MachineState, FindsTheShareOfOthers) {
  MachineState before, after;
  after.wall_seconds = 10.0;
  after.busy_seconds = 12.0;
  after.own_seconds = 10.0;
  EXPECT_DOUBLE_EQ(share_of_others(before, after, 2), 0.1);
  after.own_seconds = 13.0;  // clocks of unlike grain
  EXPECT_EQ(share_of_others(before, after, 2), 0.0);
  after.wall_seconds = 0.05;
  EXPECT_TRUE(std::isnan(share_of_others(before, after, 2)));
}

TEST(MachineState, MarksNoise) {
  EXPECT_FALSE(is_noisy(10.0, 12.0, 0.05));
  EXPECT_TRUE(is_noisy(10.0, 13.0, 0.05));
  EXPECT_TRUE(is_noisy(10.0, 10.0, 0.2));
  EXPECT_FALSE(is_noisy(10.0, 10.0, std::nan("")));
}

TEST(MachineState, KnowsThisMachine) {
  const MachineState state = machine_state();
  EXPECT_FALSE(state.flags.empty());
  EXPECT_GT(state.busy_seconds, 0.0);
  const nlohmann::json row = machine_state_json(state, machine_state());
  EXPECT_EQ(row.size(), 6U);
  EXPECT_TRUE(row.at("load_average").is_number());
}

}  // namespace
}  // namespace bitloom::tools
