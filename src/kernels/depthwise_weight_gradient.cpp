#include "bitloom/kernels/depthwise_weight_gradient.h"

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"
#include "f32_primitive.h"

#ifndef BITLOOM_DEPTHWISE_GRADIENT_PART
#define BITLOOM_DEPTHWISE_GRADIENT_PART
namespace bitloom::kernels {
// Images of one thread; compiled once, used by every target below.
struct DepthwiseGradientPart {
  const void* source;  // of these images
  DType dtype;
  std::int32_t zero_point;
  const float* gradient;
  std::int64_t images, height, width, channels, out_height, out_width, stride, pad;
  float* sums;  // [9 taps and dy][C]
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "depthwise_weight_gradient.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
using Part = DepthwiseGradientPart;
constexpr int kSide = 3;

HWY_INLINE V real(const float* from, V /*zero_point*/) { return hn::LoadU(D(), from); }
template <typename Code>
HWY_INLINE V real(const Code* from, V zero_point) {
  const hn::Rebind<Code, D> d_code;
  const hn::RebindToSigned<D> d_int;
  const auto code = hn::PromoteTo(d_int, hn::LoadU(d_code, from));
  return hn::Sub(hn::ConvertTo(D(), code), zero_point);
}

// One row of dy, one vector of channels: the window slides, columns that it keeps stay in
// registers.
template <int kStride, typename T>
HWY_INLINE void add_row(const Part& part, const T* const* rows, const float* dy, V zero_point,
                        float* sums) {
  const D t;
  const std::int64_t channels = part.channels;
  V columns[kSide][kSide];
  V taps[kSide][kSide];
  V all = hn::Zero(t);
  for (int u = 0; u < kSide; ++u) {
    for (int v = 0; v < kSide; ++v) {
      columns[u][v] = hn::Zero(t);
      taps[u][v] = hn::LoadU(t, sums + (u * kSide + v) * channels);
    }
  }
  const auto load = [&](std::int64_t column, int v) HWY_ATTR {
    const bool inside = column >= 0 && column < part.width;
    for (int u = 0; u < kSide; ++u) {
      columns[u][v] = inside && rows[u] != nullptr ? real(rows[u] + column * channels, zero_point)
                                                   : hn::Zero(t);
    }
  };
  for (int v = 0; v < kSide - kStride; ++v) load(v - part.pad, v + kStride);
  for (std::int64_t x = 0; x < part.out_width; ++x, dy += channels) {
    hwy::Prefetch(dy + part.out_width * channels);  // the next row
    for (int u = 0; u < kSide; ++u) {
      for (int v = 0; v < kSide - kStride; ++v) columns[u][v] = columns[u][v + kStride];
    }
    for (int v = kSide - kStride; v < kSide; ++v) load(x * kStride + v - part.pad, v);
    const V gradient = hn::LoadU(t, dy);
    all = hn::Add(all, gradient);
    for (int u = 0; u < kSide; ++u) {
      for (int v = 0; v < kSide; ++v) {
        taps[u][v] = hn::MulAdd(columns[u][v], gradient, taps[u][v]);
      }
    }
  }
  for (int u = 0; u < kSide; ++u) {
    for (int v = 0; v < kSide; ++v) {
      hn::StoreU(taps[u][v], t, sums + (u * kSide + v) * channels);
    }
  }
  float* const of_dy = sums + kSide * kSide * channels;
  hn::StoreU(hn::Add(hn::LoadU(t, of_dy), all), t, of_dy);
}

template <int kStride, typename T>
void add_images(const Part& part) {
  const V zero_point = hn::Set(D(), static_cast<float>(part.zero_point));
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(D()));
  const std::int64_t row = part.width * part.channels;
  const auto* source = static_cast<const T*>(part.source);
  const float* dy = part.gradient;
  for (std::int64_t image = 0; image < part.images; ++image, source += part.height * row) {
    for (std::int64_t y = 0; y < part.out_height; ++y, dy += part.out_width * part.channels) {
      for (std::int64_t c = 0; c < part.channels; c += lanes) {
        const T* rows[kSide];
        for (int u = 0; u < kSide; ++u) {
          const std::int64_t at = y * kStride + u - part.pad;
          rows[u] = at >= 0 && at < part.height ? source + at * row + c : nullptr;
        }
        add_row<kStride>(part, rows, dy + c, zero_point, part.sums + c);
      }
    }
  }
}

template <typename T>
void add_strided(const Part& part) {
  if (part.stride == 1) return add_images<1, T>(part);
  add_images<2, T>(part);
}

void add_depthwise_part(const Part& part) {
  switch (part.dtype) {
    case DType::kU8:
      return add_strided<std::uint8_t>(part);
    case DType::kS8:
      return add_strided<std::int8_t>(part);
    default:
      return add_strided<float>(part);
  }
}

const char* depthwise_gradient_target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(add_depthwise_part);
HWY_EXPORT(depthwise_gradient_target);

constexpr std::int64_t kTaps = 9;

}  // namespace

bool DepthwiseWeightGradient::supports(const F32Conv2dProblem& problem) {
  const integer::Window& window = problem.window;
  const Shape& w = problem.weight;
  return window.groups == w[0] && w[1] == 1 && problem.source.c() == w[0] && w[0] % 16 == 0 &&
         w.h() == 3 && w.w() == 3 && (window.stride == 1 || window.stride == 2) &&
         window.pad_w() == window.pad_h();
}

DepthwiseWeightGradient::DepthwiseWeightGradient(const F32Conv2dProblem& problem)
    : images_(problem.source.n()),
      height_(problem.source.h()),
      width_(problem.source.w()),
      channels_(problem.source.c()),
      stride_(problem.window.stride),
      pad_(problem.window.pad),
      pieces_(std::clamp<std::int64_t>(images_, 1, threads())) {
  const Shape output = conv2d_output("depthwise weight gradient", problem);
  out_height_ = output.h();
  out_width_ = output.w();
}

std::size_t DepthwiseWeightGradient::scratch_bytes() const {
  return aligned(static_cast<std::size_t>(pieces_ * (kTaps + 1) * channels_) * sizeof(float));
}

void DepthwiseWeightGradient::run(const Call& call, std::byte* scratch) const noexcept {
  apply_highway_cap();
  auto* const sums = reinterpret_cast<float*>(scratch);
  const std::int64_t of_piece = (kTaps + 1) * channels_;
  parallel_for(pieces_, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = images_ * piece / pieces_;
      const std::int64_t last = images_ * (piece + 1) / pieces_;
      const auto skipped = static_cast<std::size_t>(first * height_ * width_ * channels_);
      float* const own = sums + piece * of_piece;
      std::fill_n(own, of_piece, 0.0F);
      HWY_DYNAMIC_DISPATCH(add_depthwise_part)
      ({.source = static_cast<const std::byte*>(call.source) + skipped * size_of(call.source_dtype),
        .dtype = call.source_dtype,
        .zero_point = call.zero_point,
        .gradient = call.gradient + first * out_height_ * out_width_ * channels_,
        .images = last - first,
        .height = height_,
        .width = width_,
        .channels = channels_,
        .out_height = out_height_,
        .out_width = out_width_,
        .stride = stride_,
        .pad = pad_,
        .sums = own});
    }
  });
  const auto joined = [&](std::int64_t tap, std::int64_t c) {
    float sum = 0.0F;
    for (std::int64_t piece = 0; piece < pieces_; ++piece) {
      sum += sums[piece * of_piece + tap * channels_ + c];
    }
    return sum;
  };
  for (std::int64_t c = 0; c < channels_; ++c) {
    for (std::int64_t tap = 0; tap < kTaps; ++tap) {
      call.weight_gradient[c * kTaps + tap] = call.scale * joined(tap, c);
    }
    if (call.bias_gradient != nullptr) call.bias_gradient[c] = joined(kTaps, c);
  }
}

const char* DepthwiseWeightGradient::target() noexcept {
  return HWY_DYNAMIC_DISPATCH(depthwise_gradient_target)();
}

}  // namespace bitloom::kernels
#endif
