#include "bitloom/kernels/channel_layers.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/parallel.h"

namespace bitloom::kernels {
namespace {

constexpr std::int64_t kGrain = 16384;  // elements below which one thread does all

std::int64_t channels_of(ConstTensorView x) { return x.shape().c(); }

// body(row, its first element) for rows of `cols` elements.
template <typename Body>
void for_each_row(std::int64_t elements, std::int64_t cols, const Body& body) {
  parallel_for(elements / cols, std::max<std::int64_t>(1, kGrain / cols),
               [&](std::int64_t begin, std::int64_t end, int) {
                 for (std::int64_t row = begin; row < end; ++row) body(row, row * cols);
               });
}

}  // namespace

void channel_mean_magnitude(ConstTensorView x, std::int64_t channels, float* mean) noexcept {
  const float* in = x.data<float>();
  for_each_row(x.elements(), channels, [&](std::int64_t row, std::int64_t first) {
    float sum = 0.0F;
    for (std::int64_t c = 0; c < channels; ++c) sum += std::fabs(in[first + c]);
    mean[row] = sum / static_cast<float>(channels);
  });
}

void box_filter(ConstTensorView mean, const integer::Window& window, TensorView k) noexcept {
  const Shape& from = mean.shape();
  const Shape& to = k.shape();
  const auto taps = static_cast<float>(window.kernel_h * window.kernel_w);
  for_each_row(to.elements(), to.w(), [&](std::int64_t row, std::int64_t first) {
    const std::int64_t n = row / to.h();
    const std::int64_t top = row % to.h() * window.stride - window.pad;
    const float* image = mean.data<float>() + n * from.h() * from.w();
    for (std::int64_t ow = 0; ow < to.w(); ++ow) {
      const std::int64_t left = ow * window.stride - window.pad;
      float sum = 0.0F;
      for (std::int64_t h = std::max<std::int64_t>(top, 0);
           h < std::min(top + window.kernel_h, from.h()); ++h) {
        for (std::int64_t w = std::max<std::int64_t>(left, 0);
             w < std::min(left + window.kernel_w, from.w()); ++w) {
          sum += image[h * from.w() + w];
        }
      }
      k.data<float>()[first + ow] = sum / taps;
    }
  });
}

void box_filter_gradient(ConstTensorView dk, const integer::Window& window,
                         TensorView dmean) noexcept {
  const Shape& from = dk.shape();
  const Shape& to = dmean.shape();
  const float share = 1.0F / static_cast<float>(window.kernel_h * window.kernel_w);
  // An image at a time: its windows overlap.
  for_each_row(to.elements(), to.h() * to.w(), [&](std::int64_t n, std::int64_t first) {
    float* image = dmean.data<float>() + first;
    std::fill_n(image, to.h() * to.w(), 0.0F);
    for (std::int64_t oh = 0; oh < from.h(); ++oh) {
      for (std::int64_t ow = 0; ow < from.w(); ++ow) {
        const float part = share * dk.data<float>()[(n * from.h() + oh) * from.w() + ow];
        const std::int64_t top = oh * window.stride - window.pad;
        const std::int64_t left = ow * window.stride - window.pad;
        for (std::int64_t h = std::max<std::int64_t>(top, 0);
             h < std::min(top + window.kernel_h, to.h()); ++h) {
          for (std::int64_t w = std::max<std::int64_t>(left, 0);
               w < std::min(left + window.kernel_w, to.w()); ++w) {
            image[h * to.w() + w] += part;
          }
        }
      }
    }
  });
}

void channel_mean_magnitude_gradient(ConstTensorView x, std::int64_t channels, const float* dmean,
                                     TensorView dx) noexcept {
  const float* in = x.data<float>();
  float* out = dx.data<float>();
  for_each_row(x.elements(), channels, [&](std::int64_t row, std::int64_t first) {
    const float part = dmean[row] / static_cast<float>(channels);
    for (std::int64_t i = first; i < first + channels; ++i) {
      const float below = in[i] < 0.0F ? -part : 0.0F;
      out[i] = in[i] > 0.0F ? part : below;
    }
  });
}

void scale_rows(ConstTensorView x, ConstTensorView k, TensorView y) noexcept {
  const float* in = x.data<float>();
  const float* factor = k.data<float>();
  float* out = y.data<float>();
  const std::int64_t cols = channels_of(x);
  for_each_row(x.elements(), cols, [&](std::int64_t row, std::int64_t first) {
    for (std::int64_t i = first; i < first + cols; ++i) out[i] = in[i] * factor[row];
  });
}

void scale_rows_gradient(ConstTensorView x, ConstTensorView dy, TensorView dk) noexcept {
  const float* in = x.data<float>();
  const float* gradient = dy.data<float>();
  float* out = dk.data<float>();
  const std::int64_t cols = channels_of(x);
  for_each_row(x.elements(), cols, [&](std::int64_t row, std::int64_t first) {
    float sum = 0.0F;
    for (std::int64_t i = first; i < first + cols; ++i) sum += gradient[i] * in[i];
    out[row] = sum;
  });
}

}  // namespace bitloom::kernels
