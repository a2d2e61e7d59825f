#include "bitloom/kernels/machine_peaks.h"

#include <gtest/gtest.h>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"

namespace bitloom::kernels {
namespace {

// Wide bounds: other programs may hold the cores. What must not happen is a loop that the compiler
// removed (far too fast) or an operation counted wrongly.
TEST(MachinePeaks, AreWhatOneCoreCanDo) {
  const int before = threads();
  set_threads(1);
  const MachinePeaks peaks = measure_peaks();
  set_threads(before);
  EXPECT_GT(peaks.f32_gflop_per_s, 0.5);
  EXPECT_LT(peaks.f32_gflop_per_s, 64 * 8.0) << "two units of 16 lanes at 8 GHz";
  EXPECT_GT(peaks.int8_gop_per_s, 0.5);
  EXPECT_LT(peaks.copy_gb_per_s, 1000.0);
  EXPECT_GT(peaks.copy_gb_per_s, 0.1);
  if (effective_isa() == Isa::kAvx512Vnni) {
    EXPECT_GT(peaks.int8_gop_per_s, 1.5 * peaks.f32_gflop_per_s);
    EXPECT_LT(peaks.int8_gop_per_s, 12.0 * peaks.f32_gflop_per_s);
  }
  EXPECT_GE(peaks.bf16_gflop_per_s, 0.0);
}

}  // namespace
}  // namespace bitloom::kernels
