#include "bitloom/kernels/channels.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

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
  std::vector<Tensor> parts, backs;
  for (const std::int64_t channels : kChannels) {
    parts.push_back(counted<T>({2, channels, 10, 10}));
    backs.push_back(Tensor(kDTypeOf<T>, parts.back().shape()));
  }
  join_channels(std::vector<ConstTensorView>(parts.begin(), parts.end()), joined);
  std::int64_t first = 0;
  for (const Tensor& part : parts) {
    for (std::int64_t n = 0; n < 2; ++n) {
      for (std::int64_t h = 0; h < 10; ++h) {
        for (std::int64_t c = 0; c < part.shape().c(); ++c) {
          ASSERT_EQ(joined.data<T>()[joined.shape().offset(n, first + c, h, 7)],
                    part.data<T>()[part.shape().offset(n, c, h, 7)]);
        }
      }
    }
    first += part.shape().c();
  }
  std::vector<TensorView> wanted(backs.begin(), backs.end());
  wanted[1] = TensorView();  // nobody asks
  split_channels(joined, kChannels, wanted);
  for (const std::size_t k : {0U, 2U, 3U}) EXPECT_THAT(backs[k], TensorEq(parts[k]));
  EXPECT_THAT(backs[1], TensorEq(like(parts[1])));
}

TEST(Channels, JoinAndSplitEveryType) {
  check_join_and_split<float>();
  check_join_and_split<std::uint8_t>();
  check_join_and_split<std::int8_t>();
}

}  // namespace
}  // namespace bitloom::kernels
