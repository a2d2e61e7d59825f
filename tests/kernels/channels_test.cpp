#include "bitloom/kernels/channels.h"

#include <gtest/gtest.h>

#include <array>

#include "support/tensor_matchers.h"

namespace bitloom::kernels {
namespace {

template <typename T>
Tensor counted(const Shape& shape) {
  Tensor tensor(kDTypeOf<T>, shape);
  for (std::int64_t i = 0; i < shape.elements(); ++i) {
    tensor.data<T>()[i] = static_cast<T>(i % 251);
  }
  return tensor;
}

// 1, 3, 63 and 65 channels side by side; 200 pixels are enough for a second thread's piece.
template <typename T>
void check_join_and_split() {
  constexpr std::array<std::int64_t, 4> kChannels{1, 3, 63, 65};
  Tensor joined(kDTypeOf<T>, {2, 132, 10, 10});
  std::int64_t first = 0;
  for (const std::int64_t channels : kChannels) {
    const Tensor part = counted<T>({2, channels, 10, 10});
    copy_channels(part, {.to = first, .count = channels}, joined);
    for (std::int64_t n = 0; n < 2; ++n) {
      for (std::int64_t h = 0; h < 10; ++h) {
        for (std::int64_t c = 0; c < channels; ++c) {
          ASSERT_EQ(joined.data<T>()[joined.shape().offset(n, first + c, h, 7)],
                    part.data<T>()[part.shape().offset(n, c, h, 7)]);
        }
      }
    }
    first += channels;
  }
  first = 0;
  for (const std::int64_t channels : kChannels) {
    const Tensor part = counted<T>({2, channels, 10, 10});
    Tensor back = like(part);
    copy_channels(joined, {.first = first, .count = channels}, back);
    EXPECT_THAT(back, TensorEq(part));
    first += channels;
  }
}

TEST(CopyChannels, JoinsAndSplitsEveryType) {
  check_join_and_split<float>();
  check_join_and_split<std::uint8_t>();
  check_join_and_split<std::int8_t>();
}

TEST(CopyChannels, LeavesOtherChannelsAlone) {
  const Tensor from = row({1, 2, 3});
  Tensor to = row({9, 8, 7, 6});
  copy_channels(from, {.first = 1, .to = 2, .count = 2}, to);
  EXPECT_THAT(to, TensorEq(row({9, 8, 2, 3})));
  copy_channels(from, {.first = 0, .to = 0, .count = 0}, to);
  EXPECT_THAT(to, TensorEq(row({9, 8, 2, 3})));
}

}  // namespace
}  // namespace bitloom::kernels
