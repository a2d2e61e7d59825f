#include "channelwise.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/parallel.h"
#include "bitloom/integer/requantize.h"
#include "requantize_row.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kChunk = 256;   // channels that pass through a buffer on the stack
constexpr std::int64_t kGrain = 4096;  // values below which one thread does all

std::int64_t rows_grain(std::int64_t channels) {
  return std::max<std::int64_t>(1, kGrain / channels);
}

BITLOOM_SIMD_CLONES
void affine_reals(const float* x, const float* multiplier, const float* bias, std::int64_t count,
                  float* t) {
  for (std::int64_t i = 0; i < count; ++i) {
    t[i] = x[i] * multiplier[i];
    t[i] = t[i] + bias[i];
  }
}

template <typename Code>
void affine_codes(const Code* x, std::int32_t zero_point, const float* multiplier,
                  const float* bias, std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) {
    t[i] = scale_accumulator(x[i] - zero_point, multiplier[i], bias[i]);
  }
}

BITLOOM_SIMD_CLONES
void prelu_row(const float* x, const float* shift, const float* slope, const float* offset,
               std::int64_t count, float* y) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float v = shift == nullptr ? x[i] : x[i] - shift[i];
    const float bent = v > 0.0F ? v : slope[i] * v;
    y[i] = offset == nullptr ? bent : bent + offset[i];
  }
}

BITLOOM_SIMD_CLONES
void scale_row(const float* x, float k, std::int64_t count, float* y) {
  for (std::int64_t i = 0; i < count; ++i) y[i] = x[i] * k;
}

/// Sixteen floats that the compiler keeps in registers; unaligned loads, any type beneath.
typedef float Lanes __attribute__((vector_size(64), aligned(4), may_alias));
constexpr std::int64_t kLanes = 16;

/// means[r] = mean of |x[r, c]|: lane j sums channels j, j + 16, ...; lanes are then added in
/// halves.
BITLOOM_SIMD_CLONES
void mean_magnitudes(const float* x, std::int64_t rows, std::int64_t channels, float* means) {
  for (std::int64_t row = 0; row < rows; ++row, x += channels) {
    Lanes sums{};
    std::int64_t c = 0;
    for (; c + kLanes <= channels; c += kLanes) {
      const Lanes v = *reinterpret_cast<const Lanes*>(x + c);
      sums += v < 0.0F ? -v : v;
    }
    float lanes[kLanes];
    *reinterpret_cast<Lanes*>(lanes) = sums;
    for (std::int64_t j = 0; c + j < channels; ++j) lanes[j] += std::fabs(x[c + j]);
    for (std::int64_t half = kLanes / 2; half > 0; half /= 2) {
      for (std::int64_t j = 0; j < half; ++j) lanes[j] += lanes[j + half];
    }
    means[row] = lanes[0] / static_cast<float>(channels);
  }
}

}  // namespace

void affine(const Model& model, const Layer& layer, ConstTensorView source, TensorView out) {
  const TensorInfo& from = model.tensors[static_cast<std::size_t>(layer.inputs[0])];
  const TensorInfo& to = model.tensors[static_cast<std::size_t>(layer.output)];
  const std::int64_t channels = source.shape().c();
  const float* m = layer.multiplier.data<float>();
  const float* b = layer.bias.data<float>();
  const CodeRange range = to.dtype == DType::kF32 ? CodeRange() : code_range(layer, to);
  const auto run_row = [&](std::int64_t row) {
    float buffer[kChunk];
    for (std::int64_t c = 0; c < channels; c += kChunk) {
      const std::int64_t count = std::min(kChunk, channels - c);
      const std::int64_t at = row * channels + c;
      float* t = to.dtype == DType::kF32 ? out.data<float>() + at : buffer;
      if (from.dtype == DType::kF32) {
        affine_reals(source.data<float>() + at, m + c, b + c, count, t);
      } else if (from.dtype == DType::kU8) {
        affine_codes(source.data<std::uint8_t>() + at, from.format.zero_point, m + c, b + c, count,
                     t);
      } else {
        affine_codes(source.data<std::int8_t>() + at, from.format.zero_point, m + c, b + c, count,
                     t);
      }
      if (to.dtype == DType::kF32) {
        clip_row(t, count, layer.clip);
      } else {
        round_row(t, count, range, to.format.grid, to.dtype,
                  static_cast<std::uint8_t*>(out.raw()) + at);
      }
    }
  };
  parallel_for(source.elements() / channels, rows_grain(channels),
               [&](std::int64_t first, std::int64_t last, int) {
                 for (std::int64_t row = first; row < last; ++row) run_row(row);
               });
}

void prelu(const Layer& layer, ConstTensorView source, TensorView out) {
  const std::int64_t channels = source.shape().c();
  const auto values = [](const Tensor& of) { return of.empty() ? nullptr : of.data<float>(); };
  parallel_for(source.elements() / channels, rows_grain(channels),
               [&](std::int64_t first, std::int64_t last, int) {
                 for (std::int64_t row = first; row < last; ++row) {
                   prelu_row(source.data<float>() + row * channels, values(layer.shift),
                             values(layer.multiplier), values(layer.bias), channels,
                             out.data<float>() + row * channels);
                 }
               });
}

void k_map(const Window& window, ConstTensorView source, TensorView out, float* means) {
  const Shape& shape = source.shape();
  const bool flat = out.shape().rank() != 4;
  const std::int64_t channels = flat ? shape.elements() / shape.n() : shape.c();
  const std::int64_t h = flat ? 1 : shape.h();
  const std::int64_t w = flat ? 1 : shape.w();
  const std::int64_t oh = flat ? 1 : out.shape().h();
  const std::int64_t ow = flat ? 1 : out.shape().w();
  parallel_for(shape.n() * h * w, rows_grain(channels),
               [&](std::int64_t first, std::int64_t last, int) {
                 mean_magnitudes(source.data<float>() + first * channels, last - first, channels,
                                 means + first);
               });
  const auto area = static_cast<float>(window.kernel_h * window.kernel_w);
  parallel_for(shape.n() * oh, std::max<std::int64_t>(1, kGrain / ow),
               [&](std::int64_t first, std::int64_t last, int) {
                 for (std::int64_t i = first * ow; i < last * ow; ++i) {
                   const std::int64_t top = i / ow % oh * window.stride - window.pad;
                   const std::int64_t left = i % ow * window.stride - window.pad;
                   const float* image = means + i / ow / oh * h * w;
                   float sum = 0.0F;
                   for (std::int64_t y = std::max<std::int64_t>(top, 0);
                        y < std::min(top + window.kernel_h, h); ++y) {
                     for (std::int64_t x = std::max<std::int64_t>(left, 0);
                          x < std::min(left + window.kernel_w, w); ++x) {
                       sum += image[y * w + x];
                     }
                   }
                   out.data<float>()[i] = sum / area;
                 }
               });
}

void scale_map(ConstTensorView source, ConstTensorView map, TensorView out) {
  const std::int64_t channels = source.shape().c();
  parallel_for(source.elements() / channels, rows_grain(channels),
               [&](std::int64_t first, std::int64_t last, int) {
                 for (std::int64_t row = first; row < last; ++row) {
                   scale_row(source.data<float>() + row * channels, map.data<float>()[row],
                             channels, out.data<float>() + row * channels);
                 }
               });
}

}  // namespace bitloom::integer
