// Mean and variance of each channel of NHWC reals, with Google Highway, beside a plain reference.
// Goes to: layers/fused_chain (batch norm).
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/kernels/channel_values.h"
#include "bitloom/kernels/fake_quant.h"

namespace bitloom::kernels {

/// A tensor [N, C, H, W] or [N, C] seen as rows of channels, and how it is cut for the threads.
struct ChannelRows {
  std::int64_t rows = 0;      ///< N * H * W
  std::int64_t channels = 0;  ///< C
  int pieces = 1;             ///< the order of sums depends on this and on the two sizes alone
};

/// Cuts for the threads of now: at most one piece a thread, none that is not worth a thread.
ChannelRows channel_rows(std::int64_t rows, std::int64_t channels);

/// Scratch of the sums over channels, here and in elementwise_chain.h; a multiple of 64.
std::size_t channel_scratch_bytes(const ChannelRows& size);

/// Per channel c, over the rows:
///   mean[c] = sum x / rows;  variance[c] = sum (x - mean[c])^2 / rows  (biased)
///   ranges[c] = least and greatest x (unspecified in a channel that holds a NaN; its mean and
///   variance are NaN), where ranges is not nullptr
///
/// Numerically sound whatever the mean: sums run over the distance to the mean of the rows before,
/// in f32 over 128 rows, then in double (Chan's formula joins parts), in an order that depends on
/// `size` and the ISA alone.
/// Source: Chan, Golub, LeVeque, "Updating formulae and a pairwise algorithm for computing sample
///         variances", Stanford STAN-CS-79-773.
/// Shapes: x [rows, channels]; mean, variance, ranges [channels]; scratch 64-byte aligned.
/// @pre rows > 0.
void channel_statistics(const ChannelValues& x, const ChannelRows& size, float* mean,
                        float* variance, MinMax* ranges, std::byte* scratch) noexcept;

namespace reference {
void channel_statistics(const ChannelValues& x, const ChannelRows& size, float* mean,
                        float* variance, MinMax* ranges, std::byte* scratch) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
