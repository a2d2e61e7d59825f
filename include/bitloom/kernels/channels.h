// Copies between the channels of tensors that lie channels-last: what joins tensors along their
// channels and takes them apart again.
// Comes from: layers/concat, backends (concat of codes or reals).
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// A run of channels: [first, first + count) of one tensor go to `to` and following of the other.
struct ChannelRange {
  std::int64_t first = 0;
  std::int64_t to = 0;
  std::int64_t count = 0;
};

/// destination[n, range.to + c, h, w] = source[n, range.first + c, h, w] for 0 <= c < range.count;
/// the other channels of the destination stay. Any element type: bytes are copied.
/// Shapes: [N, C, H, W] or [N, C]; equal but for C. @pre both of one type; the runs lie inside.
void copy_channels(ConstTensorView source, const ChannelRange& range,
                   TensorView destination) noexcept;

}  // namespace bitloom::kernels
