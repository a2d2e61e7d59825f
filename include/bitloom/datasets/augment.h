// Random crops and mirror images of training images, a function of seed, epoch and image alone.
// Goes to: loader.h.
#pragma once

#include <cstdint>

#include "bitloom/core/random.h"
#include "bitloom/core/shape.h"

namespace bitloom::datasets {

/// Keys data.augment_*.
struct AugmentOptions {
  std::int64_t pad = 0;  ///< black pixels around the image before a crop of its size; 0: no crop
  bool flip = false;     ///< mirror left to right, every second time

  bool any() const { return pad > 0 || flip; }
};

/// Where one image is cut out and whether it is mirrored.
struct Augmentation {
  std::int64_t top = 0;   ///< row of the padded image where the crop starts, 0 .. 2 pad
  std::int64_t left = 0;  ///< column likewise
  bool mirrored = false;
};

/// The augmentation of image `index` in the epoch that `random` belongs to.
Augmentation draw_augmentation(const RandomStream& random, std::uint64_t index,
                               const AugmentOptions& options);

/// dst[h, w] = padded[top + h, left + w], or left + W-1-w where mirrored; pixels outside the image
/// are 0 (black), as in torchvision's RandomCrop(size, padding=pad) on bytes.
/// Shapes: src and dst [H, W, C] bytes, H, W and C from `shape` [N, C, H, W].
void augment_image(const std::uint8_t* src_u8, const Shape& shape, std::int64_t pad,
                   const Augmentation& augmentation, std::uint8_t* dst_u8) noexcept;

}  // namespace bitloom::datasets
