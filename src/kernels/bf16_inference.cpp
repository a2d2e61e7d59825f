#include "bitloom/kernels/bf16_inference.h"

#include <algorithm>
#include <array>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/bf16_convert.h"

namespace bitloom::kernels {
namespace {

constexpr std::int64_t kBlock = 256;  // numbers that pass through a buffer on the stack
using Block = std::array<float, kBlock>;

/// What fits a block goes to the destination, elements [at, at + count).
void store(const Block& values, std::int64_t at, std::int64_t count, TensorView to) noexcept {
  if (to.dtype() == DType::kBf16) {
    to_bf16(values.data(), 1, count, nullptr, to.data<Bf16>() + at);
  } else {
    std::copy_n(values.data(), count, to.data<float>() + at);
  }
}

/// One output pixel's window inside the image.
struct Inside {
  std::int64_t top, bottom, left, right;
};

Inside inside(const integer::Window& window, const Shape& source, std::int64_t y, std::int64_t x) {
  const std::int64_t top = y * window.stride - window.pad_h();
  const std::int64_t left = x * window.stride - window.pad_w();
  return {.top = std::max<std::int64_t>(top, 0),
          .bottom = std::min(top + window.kernel_h, source.h()),
          .left = std::max<std::int64_t>(left, 0),
          .right = std::min(left + window.kernel_w, source.w())};
}

}  // namespace

void average_bf16(const integer::Window& window, ConstTensorView source,
                  TensorView destination) noexcept {
  const Shape from = source.shape();
  const Shape to = destination.shape().rank() == 4
                       ? destination.shape()
                       : Shape{from.n(), from.c(), std::int64_t{1}, std::int64_t{1}};
  const std::int64_t channels = from.c();
  const std::int64_t blocks = (channels + kBlock - 1) / kBlock;
  const Bf16* x = source.data<Bf16>();
  parallel_for(
      to.n() * to.h() * to.w() * blocks, 1, [&](std::int64_t first, std::int64_t last, int) {
        Block sums;
        for (std::int64_t item = first; item < last; ++item) {
          const std::int64_t pixel = item / blocks;
          const std::int64_t begin = item % blocks * kBlock;
          const std::int64_t count = std::min(kBlock, channels - begin);
          const Inside part = inside(window, from, pixel / to.w() % to.h(), pixel % to.w());
          const Bf16* image = x + pixel / (to.h() * to.w()) * from.h() * from.w() * channels;
          sums.fill(0.0F);
          for (std::int64_t iy = part.top; iy < part.bottom; ++iy) {
            for (std::int64_t ix = part.left; ix < part.right; ++ix) {
              const Bf16* values = image + (iy * from.w() + ix) * channels + begin;
              for (std::int64_t c = 0; c < count; ++c) {
                sums[static_cast<std::size_t>(c)] += to_float(values[c]);
              }
            }
          }
          const std::int64_t pixels = window.count_pad
                                          ? window.kernel_h * window.kernel_w
                                          : (part.bottom - part.top) * (part.right - part.left);
          for (float& sum : sums) sum = sum / static_cast<float>(pixels);
          store(sums, pixel * channels + begin, count, destination);
        }
      });
}

void add_bf16(ConstTensorView a, ConstTensorView b, const integer::Clip& clip,
              TensorView y) noexcept {
  const Bf16* left = a.data<Bf16>();
  const Bf16* right = b.data<Bf16>();
  const std::int64_t count = y.elements();
  const std::int64_t blocks = (count + kBlock - 1) / kBlock;
  parallel_for(blocks, 16, [&](std::int64_t first, std::int64_t last, int) {
    Block sums;
    for (std::int64_t block = first; block < last; ++block) {
      const std::int64_t at = block * kBlock;
      const std::int64_t size = std::min(kBlock, count - at);
      for (std::int64_t i = 0; i < size; ++i) {
        sums[static_cast<std::size_t>(i)] =
            integer::clipped(to_float(left[at + i]) + to_float(right[at + i]), clip);
      }
      store(sums, at, size, y);
    }
  });
}

}  // namespace bitloom::kernels
