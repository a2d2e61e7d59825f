// Pixels to network inputs: (pixel / 255 - mean) / stddev, by a table of 256 floats a channel.
// Comes from: dataset.h. Goes to: loader.h; deploy quantizes the same table, so that training and
// the exported model start from the same numbers.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/datasets/dataset.h"

namespace bitloom::datasets {

/// f32 [channels, 256]: table[c][p] = (p / 255 - mean[c]) / stddev[c], computed in double and
/// rounded once. Channels may be 1 (gray) or more; a list of one value holds for all of them.
/// @throws ConfigError if mean or stddev have another count, are not finite, or stddev <= 0.
Tensor normalization_table(const DataOptions& options, std::int64_t channels);

/// out[n,c,h,w] = table[c][images[n,c,h,w]], in parallel.
/// Shapes: images u8 and out f32 [N, C, H, W]; table f32 [C, 256]. @throws ShapeError otherwise.
void normalize(ConstTensorView images_u8, ConstTensorView table, TensorView out_f32);

/// The same for `pixels` pixels of `channels` bytes each, on the calling thread.
void normalize_pixels(const std::uint8_t* src_u8, const float* table, std::int64_t channels,
                      std::int64_t pixels, float* dst) noexcept;

}  // namespace bitloom::datasets
