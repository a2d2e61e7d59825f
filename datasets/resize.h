// Pictures to the size that a network takes. Private to datasets.
#pragma once

#include "image_file.h"

namespace bitloom::datasets {

/// Antialiased bilinear resize, bit for bit Pillow's Image.resize(BILINEAR) on bytes.
///
/// An output pixel at x is the mean of the inputs i weighted by max(0, 1 - |i + 1/2 - c| / s), with
/// c = (x + 1/2) * r, r = input size / output size, s = max(r, 1). Weights are rounded to 22 bits
/// behind the point; rows first, rounded to bytes, then columns.
/// Source: Pillow, src/libImaging/Resample.c.
Picture resize(const Picture& picture, std::int64_t height, std::int64_t width);

/// Shorter side to `side`, the longer one in proportion, rounded down, as torchvision's
/// Resize(side).
Picture resize_shorter_side(const Picture& picture, std::int64_t side);

/// The `side` x `side` pixels in the middle, as torchvision's CenterCrop: an odd rest of r pixels
/// leaves round_half_even(r / 2) above and to the left. @pre the picture is as large.
Picture center_crop(const Picture& picture, std::int64_t side);

}  // namespace bitloom::datasets
