#include "elementwise.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/core/parallel.h"
#include "bitloom/integer/requantize.h"
#include "requantize_row.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kChunk = 256;  // values that pass through a buffer on the stack

BITLOOM_SIMD_CLONES
void max_values(const std::uint8_t* from, std::int64_t count, std::uint8_t* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = std::max(to[i], from[i]);
}

BITLOOM_SIMD_CLONES
void max_values(const std::int8_t* from, std::int64_t count, std::int8_t* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = std::max(to[i], from[i]);
}

BITLOOM_SIMD_CLONES
void max_values(const float* from, std::int64_t count, float* to) {
  for (std::int64_t i = 0; i < count; ++i) to[i] = from[i] > to[i] ? from[i] : to[i];
}

BITLOOM_SIMD_CLONES
void add_values(const std::uint8_t* from, std::int64_t count, std::int32_t* sums) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] += from[i];
}

BITLOOM_SIMD_CLONES
void add_values(const std::int8_t* from, std::int64_t count, std::int32_t* sums) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] += from[i];
}

BITLOOM_SIMD_CLONES
void add_values(const float* from, std::int64_t count, float* sums) {
  for (std::int64_t i = 0; i < count; ++i) sums[i] += from[i];
}

/// Source pixels under one window that lie inside the image: rows [top, bottom), columns
/// [left, right).
struct Taps {
  std::int64_t top, bottom, left, right;
  std::int64_t pixels() const { return (bottom - top) * (right - left); }
};

Taps taps_of(const Window& window, const Shape& source, std::int64_t y, std::int64_t x) {
  const std::int64_t top = y * window.stride - window.pad_h();
  const std::int64_t left = x * window.stride - window.pad_w();
  return {.top = std::max<std::int64_t>(top, 0),
          .bottom = std::min(top + window.kernel_h, source.h()),
          .left = std::max<std::int64_t>(left, 0),
          .right = std::min(left + window.kernel_w, source.w())};
}

template <typename T>
void select_values(const T* from, const std::uint8_t* lowest, std::int64_t count, T* to) {
  for (std::int64_t i = 0; i < count; ++i) {
    to[i] = (lowest[i] != 0) == (from[i] < to[i]) ? from[i] : to[i];
  }
}

template <typename T>
void max_pool_typed(const Window& window, ConstTensorView source, const std::uint8_t* lowest,
                    TensorView out) {
  const Shape& from = source.shape();
  const Shape& to = out.shape();
  const std::int64_t channels = from.c();
  const T* x = source.data<T>();
  T* y = out.data<T>();
  parallel_for(to.n() * to.h() * to.w(), 16, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t image = row / (to.h() * to.w());
      const Taps taps = taps_of(window, from, row / to.w() % to.h(), row % to.w());
      T* best = y + row * channels;
      bool empty = true;
      for (std::int64_t iy = taps.top; iy < taps.bottom; ++iy) {
        for (std::int64_t ix = taps.left; ix < taps.right; ++ix) {
          const T* pixel = x + ((image * from.h() + iy) * from.w() + ix) * channels;
          if (empty) {
            std::copy(pixel, pixel + channels, best);
          } else if (lowest == nullptr) {
            max_values(pixel, channels, best);
          } else {
            select_values(pixel, lowest, channels, best);
          }
          empty = false;
        }
      }
    }
  });
}

/// round_half_even(sum / count), exact for every sum.
std::int32_t rounded_mean(std::int32_t sum, std::int32_t count) {
  std::int32_t quotient = sum / count;
  std::int32_t rest = sum % count;
  if (rest < 0) {
    rest += count;
    --quotient;
  }
  const std::int64_t twice = std::int64_t{2} * rest;
  return quotient + (twice > count || (twice == count && quotient % 2 != 0) ? 1 : 0);
}

template <typename T>
T mean(std::int32_t sum, std::int64_t count) {
  return static_cast<T>(rounded_mean(sum, static_cast<std::int32_t>(count)));
}

template <typename T>
T mean(float sum, std::int64_t count) {
  return sum / static_cast<float>(count);
}

/// `zero`: what a pixel of padding adds, where padding counts.
template <typename T, typename Sum>
void avg_pool_typed(const Window& window, ConstTensorView source, TensorView out, Sum zero) {
  const Shape& from = source.shape();
  const T* x = source.data<T>();
  T* y = out.data<T>();
  const std::int64_t rows = window.output_h(from.h());
  const std::int64_t columns = window.output_w(from.w());
  const std::int64_t area = window.kernel_h * window.kernel_w;
  parallel_for(from.n() * rows * columns, 1, [&](std::int64_t first, std::int64_t last, int) {
    Sum sums[kChunk];
    for (std::int64_t row = first; row < last; ++row) {
      const Taps taps = taps_of(window, from, row / columns % rows, row % columns);
      const std::int64_t image = row / (rows * columns) * from.h() * from.w();
      for (std::int64_t c = 0; c < from.c(); c += kChunk) {
        const std::int64_t count = std::min(kChunk, from.c() - c);
        const std::int64_t outside = window.count_pad ? area - taps.pixels() : 0;
        std::fill(sums, sums + count, static_cast<Sum>(outside) * zero);
        for (std::int64_t iy = taps.top; iy < taps.bottom; ++iy) {
          for (std::int64_t ix = taps.left; ix < taps.right; ++ix) {
            add_values(x + (image + iy * from.w() + ix) * from.c() + c, count, sums);
          }
        }
        for (std::int64_t i = 0; i < count; ++i) {
          y[row * from.c() + c + i] = mean<T>(sums[i], taps.pixels() + outside);
        }
      }
    }
  });
}

std::int32_t code_at(ConstTensorView codes, std::int64_t index) {
  return codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[index]
                                     : codes.data<std::int8_t>()[index];
}

void add_codes(const Model& model, const Layer& layer, ConstTensorView a, ConstTensorView b,
               TensorView out) {
  const TensorInfo& info_a = model.tensors[static_cast<std::size_t>(layer.inputs[0])];
  const TensorInfo& info_b = model.tensors[static_cast<std::size_t>(layer.inputs[1])];
  const TensorInfo& info_y = model.tensors[static_cast<std::size_t>(layer.output)];
  const float ratio_a = scale_ratio(info_a.scale, info_y.scale);
  const float ratio_b = scale_ratio(info_b.scale, info_y.scale);
  const CodeRange range = code_range(layer, info_y);
  parallel_for(out.elements(), 4096, [&](std::int64_t first, std::int64_t last, int) {
    float t[kChunk];
    for (std::int64_t begin = first; begin < last; begin += kChunk) {
      const std::int64_t count = std::min(kChunk, last - begin);
      for (std::int64_t i = 0; i < count; ++i) {
        const float product =
            static_cast<float>(code_at(a, begin + i) - info_a.format.zero_point) * ratio_a;
        t[i] = add_residual(product, code_at(b, begin + i), info_b.format.zero_point, ratio_b);
        t[i] += static_cast<float>(info_y.format.zero_point);
      }
      round_row(t, count, range, info_y.format.grid, info_y.dtype,
                static_cast<std::uint8_t*>(out.raw()) + begin);
    }
  });
}

}  // namespace

void max_pool(const Layer& layer, ConstTensorView source, TensorView out) {
  const std::uint8_t* lowest = layer.lowest.empty() ? nullptr : layer.lowest.data<std::uint8_t>();
  switch (source.dtype()) {
    case DType::kU8:
      return max_pool_typed<std::uint8_t>(layer.window, source, lowest, out);
    case DType::kS8:
      return max_pool_typed<std::int8_t>(layer.window, source, lowest, out);
    default:
      return max_pool_typed<float>(layer.window, source, lowest, out);
  }
}

void avg_pool(const Window& window, ConstTensorView source, TensorView out,
              std::int32_t zero_point) {
  switch (source.dtype()) {
    case DType::kU8:
      return avg_pool_typed<std::uint8_t, std::int32_t>(window, source, out, zero_point);
    case DType::kS8:
      return avg_pool_typed<std::int8_t, std::int32_t>(window, source, out, zero_point);
    default:
      return avg_pool_typed<float, float>(window, source, out, 0.0F);
  }
}

void concat(std::span<const ConstTensorView> inputs, TensorView out) {
  const std::size_t size = size_of(out.dtype());
  const std::size_t stride = static_cast<std::size_t>(out.shape().c()) * size;
  // Calls body(input, its first byte in a row) for inputs that do not begin where they go.
  const auto for_each_elsewhere = [&](const auto& body) {
    std::byte* to = static_cast<std::byte*>(out.raw());
    for (const ConstTensorView& input : inputs) {
      if (input.raw() != to) body(input, to);
      to += static_cast<std::size_t>(input.shape().c()) * size;
    }
  };
  bool copies = false;
  for_each_elsewhere([&](const ConstTensorView&, std::byte*) { copies = true; });
  if (!copies) return;
  parallel_for(out.elements() / out.shape().c(), 256,
               [&](std::int64_t first, std::int64_t last, int) {
                 for_each_elsewhere([&](const ConstTensorView& input, std::byte* to) {
                   const std::size_t bytes = static_cast<std::size_t>(input.shape().c()) * size;
                   const std::byte* from = static_cast<const std::byte*>(input.raw());
                   for (auto row = static_cast<std::size_t>(first);
                        row < static_cast<std::size_t>(last); ++row) {
                     std::memcpy(to + row * stride, from + row * bytes, bytes);
                   }
                 });
               });
}

void add(const Model& model, const Layer& layer, ConstTensorView a, ConstTensorView b,
         TensorView out) {
  if (out.dtype() != DType::kF32) return add_codes(model, layer, a, b, out);
  const float* x = a.data<float>();
  const float* r = b.data<float>();
  float* y = out.data<float>();
  parallel_for(out.elements(), 4096, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t i = first; i < last; ++i) y[i] = x[i] + r[i];
    clip_row(y + first, last - first, layer.clip);
  });
}

}  // namespace bitloom::integer
