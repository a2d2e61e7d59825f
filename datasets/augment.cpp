#include "bitloom/datasets/augment.h"

#include <algorithm>

namespace bitloom::datasets {

Augmentation draw_augmentation(const RandomStream& random, std::uint64_t index,
                               const AugmentOptions& options) {
  const auto places = static_cast<std::uint32_t>(2 * options.pad + 1);
  return {.top = random.below(3 * index, places),
          .left = random.below(3 * index + 1, places),
          .mirrored = options.flip && random.below(3 * index + 2, 2) == 1};
}

void augment_image(const std::uint8_t* src_u8, const Shape& shape, std::int64_t pad,
                   const Augmentation& augmentation, std::uint8_t* dst_u8) noexcept {
  const std::int64_t channels = shape.c();
  for (std::int64_t h = 0; h < shape.h(); ++h) {
    const std::int64_t row = h + augmentation.top - pad;
    const bool outside = row < 0 || row >= shape.h();
    for (std::int64_t w = 0; w < shape.w(); ++w, dst_u8 += channels) {
      const std::int64_t across = augmentation.mirrored ? shape.w() - 1 - w : w;
      const std::int64_t column = across + augmentation.left - pad;
      if (outside || column < 0 || column >= shape.w()) {
        std::fill_n(dst_u8, channels, std::uint8_t{0});
      } else {
        std::copy_n(src_u8 + (row * shape.w() + column) * channels, channels, dst_u8);
      }
    }
  }
}

}  // namespace bitloom::datasets
