#include "bitloom/kernels/rectifier.h"

#include <algorithm>

#include "channel_pieces.h"

#ifndef BITLOOM_RECTIFIER_PART
#define BITLOOM_RECTIFIER_PART
namespace bitloom::kernels {
// One thread's rows; compiled once, used by every target below.
struct RectifierPart {
  const float* x;
  std::int64_t rows;
  std::int64_t channels;
  RectifierChannels numbers;
  float* y;
  OutputGradient dy;
  InputGradient dx;
  double* slope;      // sums of one piece [channels], 0 at first
  double* threshold;  // of dx
  double* offset;     // of dy
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "rectifier.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

template <class D>
HWY_INLINE hn::Vec<D> number_or_zero(D d, const float* numbers, std::int64_t channel) {
  return numbers == nullptr ? hn::Zero(d) : hn::LoadU(d, numbers + channel);
}

// One tile and one block of channels.
struct RectifyBlock {
  RectifierPart part;
  std::int64_t first;
  std::int64_t last;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) const {
    one_by_one(d, vectors, part.x, part.channels, first, last, channel,
               [&](std::int64_t at) HWY_ATTR { (*this)(d, Vectors<1>(), at); });
  }
  template <class D>
  HWY_INLINE void operator()(D d, Vectors<1> /*vectors*/, std::int64_t channel) const {
    const auto slope = hn::LoadU(d, part.numbers.slope + channel);
    const auto threshold = number_or_zero(d, part.numbers.threshold, channel);
    const auto offset = number_or_zero(d, part.numbers.offset, channel);
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t i = row * part.channels + channel;
      const auto v = hn::Sub(hn::LoadU(d, part.x + i), threshold);
      const auto kept = hn::IfThenElse(hn::Gt(v, hn::Zero(d)), v, hn::Mul(slope, v));
      hn::StoreU(hn::Add(kept, offset), d, part.y + i);
    }
  }
};

struct RectifyGradientBlock {
  RectifierPart part;
  std::int64_t first;
  std::int64_t last;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) const {
    one_by_one(d, vectors, part.x, part.channels, first, last, channel,
               [&](std::int64_t at) HWY_ATTR { (*this)(d, Vectors<1>(), at); });
  }
  template <class D>
  HWY_INLINE void operator()(D d, Vectors<1> /*vectors*/, std::int64_t channel) const {
    const auto zero = hn::Zero(d);
    const auto slope = hn::LoadU(d, part.numbers.slope + channel);
    const auto threshold = number_or_zero(d, part.numbers.threshold, channel);
    auto slopes = zero, thresholds = zero, offsets = zero;
    for (std::int64_t row = last; row-- > first;) {
      const std::int64_t i = row * part.channels + channel;
      hwy::Prefetch(part.x + i - kAhead * part.channels);
      const auto v = hn::Sub(hn::LoadU(d, part.x + i), threshold);
      const auto dy = load_terms(d, part.dy, i);
      const auto dx = hn::IfThenElse(hn::Gt(v, zero), dy, hn::Mul(dy, slope));
      slopes = hn::Add(slopes, hn::Mul(dy, hn::Min(v, zero)));
      thresholds = hn::Add(thresholds, dx);
      offsets = hn::Add(offsets, dy);
      if (part.dx.at != nullptr) store_gradient(d, dx, part.dx.at, part.dx.dtype, false, i);
    }
    add_lanes(d, slopes, part.slope + channel);
    add_lanes(d, thresholds, part.threshold + channel);
    add_lanes(d, offsets, part.offset + channel);
  }
};

void rectify_part(const RectifierPart& part) {
  const PartTile<RectifyBlock, RectifierPart> tile{part};
  for_each_tile(part.rows, false, tile);
}

void rectify_gradient_part(const RectifierPart& part) {
  const PartTile<RectifyGradientBlock, RectifierPart> tile{part};
  for_each_tile(part.rows, true, tile);
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(rectify_part);
HWY_EXPORT(rectify_gradient_part);

}  // namespace

void rectify(const float* x, const ChannelRows& size, const RectifierChannels& channels,
             float* y) noexcept {
  for_each_channel_piece(size, [&](std::int64_t, std::int64_t row, std::int64_t end) {
    const std::int64_t at = row * size.channels;
    HWY_DYNAMIC_DISPATCH(rectify_part)
    ({.x = x + at,
      .rows = end - row,
      .channels = size.channels,
      .numbers = channels,
      .y = y + at,
      .dy = {},
      .dx = {},
      .slope = nullptr,
      .threshold = nullptr,
      .offset = nullptr});
  });
}

void rectify_gradient(const float* x, const ChannelRows& size, const RectifierChannels& channels,
                      const OutputGradient& dy, const RectifierGradients& gradients,
                      const InputGradient& dx, std::byte* scratch) noexcept {
  for_each_channel_piece(size, [&](std::int64_t piece, std::int64_t row, std::int64_t end) {
    const std::int64_t at = row * size.channels;
    double* sums = piece_sums(scratch, size, piece);
    std::fill_n(sums, 3 * size.channels, 0.0);
    HWY_DYNAMIC_DISPATCH(rectify_gradient_part)
    ({.x = x + at,
      .rows = end - row,
      .channels = size.channels,
      .numbers = channels,
      .y = nullptr,
      .dy = from_element(dy, at),
      .dx = from_element(dx, at),
      .slope = sums,
      .threshold = sums + size.channels,
      .offset = sums + 2 * size.channels});
  });
  join_sums(scratch, size, 0, 1.0, gradients.slope);
  if (gradients.threshold != nullptr) join_sums(scratch, size, 1, -1.0, gradients.threshold);
  if (gradients.offset != nullptr) join_sums(scratch, size, 2, 1.0, gradients.offset);
}

}  // namespace bitloom::kernels
#endif
