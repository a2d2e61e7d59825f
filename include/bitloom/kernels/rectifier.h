// Rectifiers with learned slopes and shifts per channel (PReLU, RPReLU), with Google Highway,
// beside a plain reference. Goes to: layers/prelu.
#pragma once

#include <cstddef>

#include "bitloom/kernels/channel_statistics.h"
#include "bitloom/kernels/gradient_terms.h"

namespace bitloom::kernels {

/// Learned numbers of a rectifier, [C] each; nullptr counts as 0.
struct RectifierChannels {
  const float* slope = nullptr;
  const float* threshold = nullptr;
  const float* offset = nullptr;
};

/// With v = x - threshold[c]:  y = (v if v > 0, else slope[c] * v) + offset[c]
/// Shapes: x, y [rows, channels]; y may be x.
void rectify(const float* x, const ChannelRows& size, const RectifierChannels& channels,
             float* y) noexcept;

/// Where gradients of RectifierChannels go, [C] each.
struct RectifierGradients {
  float* slope = nullptr;
  float* threshold = nullptr;  ///< nullptr: not learned
  float* offset = nullptr;     ///< nullptr: not learned
};

/// dx = dy * (1 if v > 0, else slope[c]); over the channel: dslope = sum dy * min(v, 0),
/// dthreshold = -sum dx, doffset = sum dy. One pass: f32 over 128 rows, then double, in an order
/// that depends on `size` and the ISA alone.
/// Shapes: x, dy, dx [rows, channels]; dx may lie on a term of dy of the same type. Scratch of
/// channel_scratch_bytes(size), 64-byte aligned.
void rectify_gradient(const float* x, const ChannelRows& size, const RectifierChannels& channels,
                      const OutputGradient& dy, const RectifierGradients& gradients,
                      const InputGradient& dx, std::byte* scratch) noexcept;

namespace reference {
void rectify(const float* x, const ChannelRows& size, const RectifierChannels& channels,
             float* y) noexcept;
void rectify_gradient(const float* x, const ChannelRows& size, const RectifierChannels& channels,
                      const OutputGradient& dy, const RectifierGradients& gradients,
                      const InputGradient& dx, std::byte* scratch) noexcept;
}  // namespace reference

}  // namespace bitloom::kernels
