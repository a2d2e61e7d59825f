// What joins tensors that lie channels-last along their channels, and takes them apart again.
// Comes from: layers/concat.
#pragma once

#include <span>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// joined = parts[0], parts[1], ... along the channels, in one pass. Any element type: bytes are
/// copied.
/// Shapes: [N, C, H, W] or [N, C]; equal but for C, of which `joined` has the sum. @pre all of one
/// type.
void join_channels(std::span<const ConstTensorView> parts, TensorView joined) noexcept;

/// The way back: parts[k] = its channels of `joined`, which has `channels[k]` of them; an empty
/// view is left out.
void split_channels(ConstTensorView joined, std::span<const std::int64_t> channels,
                    std::span<const TensorView> parts) noexcept;

}  // namespace bitloom::kernels
