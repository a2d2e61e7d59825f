// What this machine reaches at its best: the roof that a benchmark's layers stand under.
// Goes to: tools (bench).
#pragma once

namespace bitloom::kernels {

/// On threads() threads, at the ISA cap of core/cpu.h. A multiply-add counts as 2 operations.
struct MachinePeaks {
  double f32_gflop_per_s = 0.0;
  double int8_gop_per_s = 0.0;    ///< u8 * s8 summed in s32
  double bf16_gflop_per_s = 0.0;  ///< bf16 * bf16 summed in f32; 0 where the CPU has none
  double copy_gb_per_s = 0.0;     ///< bytes read and written by a copy, 1e9 of them
};

/// Runs multiply-adds on registers (FMA, VNNI, AVX512-BF16; with AMX, and where there is no such
/// loop, oneDNN's product of 1024 x 1024 matrices) and copies 64 MiB; each the best of several
/// times. Takes about a quarter of a second, and 128 MiB while it runs.
/// A tensor that stays in a cache moves faster than copy_gb_per_s.
MachinePeaks measure_peaks();

}  // namespace bitloom::kernels
