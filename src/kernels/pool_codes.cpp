#include "bitloom/kernels/pool_codes.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "average_codes.h"
#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"
#include "max_gradient.h"
#include "pool_windows.h"

namespace bitloom::kernels {
namespace {

// Calls body(position in the window, source pixel) for each pixel of a window, in row order.
template <typename Body>
void for_each_pixel(const Shape& source, const integer::Window& window, std::int64_t y,
                    std::int64_t x, const Body& body) {
  const Inside rows = inside(y, window.kernel_h, window, source.h());
  const Inside columns = inside(x, window.kernel_w, window, source.w());
  for (std::int64_t ky = rows.first; ky < rows.last; ++ky) {
    for (std::int64_t kx = columns.first; kx < columns.last; ++kx) {
      body(ky * window.kernel_w + kx, (rows.origin + ky) * source.w() + columns.origin + kx);
    }
  }
}

template <typename Code>
void max_pool(const Code* source, const Shape& shape, const integer::Window& window,
              Code* destination, const Shape& out, std::uint8_t* argmax) {
  const std::int64_t channels = shape.c();
  parallel_for(out.n() * out.h(), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Code* image = source + row / out.h() * shape.h() * shape.w() * channels;
      for (std::int64_t x = 0; x < out.w(); ++x) {
        Code* best = destination + (row * out.w() + x) * channels;
        std::uint8_t* where = argmax == nullptr ? nullptr : argmax + (row * out.w() + x) * channels;
        bool first = true;
        for_each_pixel(
            shape, window, row % out.h(), x, [&](std::int64_t position, std::int64_t pixel) {
              const Code* value = image + pixel * channels;
              const auto index = static_cast<std::uint8_t>(position);
              if (first) {
                std::memcpy(best, value, static_cast<std::size_t>(channels) * sizeof(Code));
                if (where != nullptr) std::memset(where, index, static_cast<std::size_t>(channels));
                first = false;
              } else if (where == nullptr) {
#pragma omp simd
                for (std::int64_t c = 0; c < channels; ++c) best[c] = std::max(best[c], value[c]);
              } else {
#pragma omp simd
                for (std::int64_t c = 0; c < channels; ++c) {
                  where[c] = value[c] > best[c] ? index : where[c];
                  best[c] = std::max(best[c], value[c]);
                }
              }
            });
      }
    }
  });
}

std::int32_t round_half_even_quotient(std::int32_t sum, std::int32_t count) {
  std::int32_t quotient = sum / count;
  std::int32_t rest = sum % count;
  if (rest < 0) {  // C++ divides towards zero; the tie rule needs the floor
    rest += count;
    --quotient;
  }
  const std::int64_t twice = std::int64_t{2} * rest;
  return quotient + (twice > count || (twice == count && quotient % 2 != 0) ? 1 : 0);
}

template <typename Code>
void avg_pool(const Code* source, const Shape& shape, const integer::Window& window,
              std::int32_t zero_point, Code* destination, const Shape& out) {
  const std::int64_t channels = shape.c();
  parallel_for(out.n() * out.h(), 1, [&](std::int64_t begin, std::int64_t end, int) {
    constexpr std::int64_t kBlock = 64;
    std::array<std::int32_t, kBlock> sums;
    for (std::int64_t row = begin; row < end; ++row) {
      const Code* image = source + row / out.h() * shape.h() * shape.w() * channels;
      for (std::int64_t x = 0; x < out.w(); ++x) {
        const std::int32_t pixels = pixels_counted(shape, window, row % out.h(), x);
        const std::int32_t padding = pixels - pixels_inside(shape, window, row % out.h(), x);
        for (std::int64_t base = 0; base < channels; base += kBlock) {
          const std::int64_t count = std::min(kBlock, channels - base);
          sums.fill(padding * zero_point);
          for_each_pixel(shape, window, row % out.h(), x, [&](std::int64_t, std::int64_t pixel) {
            const Code* value = image + pixel * channels + base;
            for (std::int64_t c = 0; c < count; ++c) sums[static_cast<std::size_t>(c)] += value[c];
          });
          Code* to = destination + (row * out.w() + x) * channels + base;
          for (std::int64_t c = 0; c < count; ++c) {
            to[c] = static_cast<Code>(
                round_half_even_quotient(sums[static_cast<std::size_t>(c)], pixels));
          }
        }
      }
    }
  });
}

// Windows that average_window takes; pixel by pixel, and by channels where there are few pixels.
void avg_pool_small(ConstTensorView source, const integer::Window& window, std::int32_t zero_point,
                    TensorView destination) {
  constexpr std::int64_t kBlock = 256;  // channels
  const Shape& shape = source.shape();
  const Shape& out = destination.shape();
  const std::int64_t channels = shape.c();
  const std::int64_t columns = out.w();
  const std::int64_t rows = out.h();
  const std::int64_t blocks = (channels + kBlock - 1) / kBlock;
  const auto* from = static_cast<const std::uint8_t*>(source.raw());
  auto* to = static_cast<std::uint8_t*>(destination.raw());
  apply_highway_cap();
  parallel_for(
      out.n() * rows * columns * blocks, 16, [&](std::int64_t begin, std::int64_t end, int) {
        for (std::int64_t i = begin; i < end; ++i) {
          const std::int64_t pixel = i / blocks;
          const std::int64_t y = pixel / columns % rows;
          const std::int64_t x = pixel % columns;
          const Inside down = inside(y, window.kernel_h, window, shape.h());
          const Inside along = inside(x, window.kernel_w, window, shape.w());
          const std::int32_t pixels = pixels_inside(shape, window, y, x);
          const std::int32_t count = pixels_counted(shape, window, y, x);
          const std::int64_t top = pixel / (rows * columns) * shape.h() + down.origin + down.first;
          const AverageWindow average{
              .first = from + (top * shape.w() + along.origin + along.first) * channels,
              .rows = down.last - down.first,
              .columns = along.last - along.first,
              .row_step = shape.w() * channels,
              .column_step = channels,
              .padding = (count - pixels) * zero_point,
              .count = count,
              .flip = static_cast<std::uint8_t>(source.dtype() == DType::kS8 ? 0x80 : 0)};
          const std::int64_t block = i % blocks * kBlock;
          average_window(average, block, std::min(block + kBlock, channels), to + pixel * channels);
        }
      });
}

}  // namespace

void max_pool_codes(ConstTensorView source, const integer::Window& window, TensorView destination,
                    std::uint8_t* argmax) noexcept {
  BITLOOM_ASSERT(window.kernel_h * window.kernel_w <= kMaxPoolWindow);
  const Shape& shape = source.shape();
  const Shape& out = destination.shape();
  if (source.dtype() == DType::kU8) {
    max_pool(source.data<std::uint8_t>(), shape, window, destination.data<std::uint8_t>(), out,
             argmax);
  } else {
    max_pool(source.data<std::int8_t>(), shape, window, destination.data<std::int8_t>(), out,
             argmax);
  }
}

void max_pool_gradient(ConstTensorView destination_gradient, ConstTensorView second_gradient,
                       const integer::Window& window, const std::uint8_t* argmax,
                       TensorView source_gradient) noexcept {
  apply_highway_cap();
  const Shape& shape = source_gradient.shape();
  const Shape& out = destination_gradient.shape();
  const auto width = static_cast<std::int64_t>(size_of(destination_gradient.dtype()));
  const auto* dy = static_cast<const std::byte*>(destination_gradient.raw());
  const auto* second = static_cast<const std::byte*>(second_gradient.raw());
  auto* dx = static_cast<std::byte*>(source_gradient.raw());
  parallel_for(shape.n() * shape.h(), 4, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t y = row % shape.h();
      const Covering down = covering(y, window.kernel_h, window, out.h());
      for (std::int64_t x = 0; x < shape.w(); ++x) {
        const Covering along = covering(x, window.kernel_w, window, out.w());
        const std::int64_t first =
            ((row / shape.h() * out.h() + down.first) * out.w() + along.first) * shape.c();
        max_gradient_pixel({.gradient = dy + first * width,
                            .second = second == nullptr ? nullptr : second + first * width,
                            .argmax = argmax + first,
                            .rows = down.last - down.first,
                            .columns = along.last - along.first,
                            .row_step = out.w() * shape.c(),
                            .column_step = shape.c(),
                            .position = down.position * window.kernel_w + along.position,
                            .position_row_step = window.stride * window.kernel_w,
                            .position_column_step = window.stride,
                            .from = destination_gradient.dtype(),
                            .to = source_gradient.dtype()},
                           shape.c(),
                           dx + (row * shape.w() + x) * shape.c() *
                                    static_cast<std::int64_t>(size_of(source_gradient.dtype())));
      }
    }
  });
}

void avg_pool_codes(ConstTensorView source, const integer::Window& window, TensorView destination,
                    std::int32_t zero_point) noexcept {
  if (window.kernel_h * window.kernel_w <= kAverageWindow) {
    return avg_pool_small(source, window, zero_point, destination);
  }
  const Shape& shape = source.shape();
  const Shape& out = destination.shape();
  if (source.dtype() == DType::kU8) {
    avg_pool(source.data<std::uint8_t>(), shape, window, zero_point,
             destination.data<std::uint8_t>(), out);
  } else {
    avg_pool(source.data<std::int8_t>(), shape, window, zero_point, destination.data<std::int8_t>(),
             out);
  }
}

}  // namespace bitloom::kernels
