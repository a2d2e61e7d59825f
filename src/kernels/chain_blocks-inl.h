// What the Highway kernels of elementwise_chain and elementwise_gradient share: a block of channels
// with the chain's constants in registers, and the walk over tiles and blocks. Included once per
// target.
#if defined(BITLOOM_CHAIN_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_CHAIN_BLOCKS_INL_H
#undef BITLOOM_CHAIN_BLOCKS_INL_H
#else
#define BITLOOM_CHAIN_BLOCKS_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "bitloom/kernels/elementwise_chain.h"
#include "channel_blocks-inl.h"

// For what a loop over rows does: called as a function, it would keep its sums in memory.
#ifndef BITLOOM_INLINE_LAMBDA
#define BITLOOM_INLINE_LAMBDA HWY_ATTR __attribute__((always_inline))
#endif

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// A block of channels: the chain's constants in registers. Conditions on `chain` are the same for
// every element, so they cost a predicted branch.
template <class D>
class Block {
 public:
  using V = hn::Vec<D>;

  HWY_INLINE Block(D d, std::int64_t channel, const ElementwiseChain& chain)
      : source_scale_(loaded(d, chain.source.scale, channel)),
        mean_(loaded(d, chain.mean, channel)),
        slope_(loaded(d, chain.slope, channel)),
        shift_(loaded(d, chain.shift, channel)),
        shortcut_scale_(hn::Set(d, chain.shortcut_scale)),
        rectifier_threshold_(loaded(d, chain.rectifier.threshold, channel)),
        rectifier_slope_(loaded(d, chain.rectifier.slope, channel)),
        rectifier_offset_(loaded(d, chain.rectifier.offset, channel)),
        clip_low_(hn::Set(d, chain.clip.low)),
        clip_high_(hn::Set(d, chain.clip.high)),
        inverse_(hn::Set(d, 1.0F / chain.scale)),
        zero_(hn::Set(d, static_cast<float>(chain.format.zero_point))),
        qmin_(hn::Set(d, static_cast<float>(chain.format.range.qmin))),
        qmax_(hn::Set(d, static_cast<float>(chain.format.range.qmax))),
        sign_threshold_(loaded(d, chain.sign_threshold, channel)) {}

  // The chain's real value.
  HWY_INLINE V value(D d, const ElementwiseChain& chain, std::int64_t i) const {
    V x = summed(d, chain, distance(d, chain, i), i);
    if (chain.rectifies) x = rectified(above_threshold(x));
    if (chain.clips) x = hn::Min(hn::Max(x, clip_low_), clip_high_);
    return x;
  }

  // The source's distance to the channel's mean; without normalization the source.
  HWY_INLINE V distance(D d, const ElementwiseChain& chain, std::int64_t i) const {
    return hn::Sub(load_values(d, chain.source, i, source_scale_), mean_);
  }
  // What is rectified, clipped and quantized.
  HWY_INLINE V summed(D d, const ElementwiseChain& chain, V distance, std::int64_t i) const {
    V x = distance;
    if (chain.mean != nullptr) x = hn::Add(hn::Mul(distance, slope_), shift_);
    return chain.shortcut == nullptr ? x : hn::Add(x, shortcut(d, chain, i));
  }

  HWY_INLINE V above_threshold(V x) const { return hn::Sub(x, rectifier_threshold_); }
  HWY_INLINE V rectified(V above) const {
    return hn::Add(rectified_gradient(above, above), rectifier_offset_);
  }
  HWY_INLINE V rectified_gradient(V above, V gradient) const {
    const auto positive = hn::Gt(above, hn::Zero(D()));
    return hn::IfThenElse(positive, gradient, hn::Mul(gradient, rectifier_slope_));
  }

  HWY_INLINE void store_sign(D /*d*/, V x, std::int8_t* code) const {
    const hn::RebindToSigned<D> d_int;
    const hn::Rebind<std::int8_t, D> d_code;
    const auto above = hn::RebindMask(d_int, hn::Ge(x, sign_threshold_));
    const auto sign = hn::IfThenElse(above, hn::Set(d_int, 1), hn::Set(d_int, -1));
    hn::StoreU(hn::DemoteTo(d_code, sign), d_code, code);
  }
  // What stands for the gradient of the sign of x: ApproxSignGradient of few_levels.h.
  HWY_INLINE V sign_slope(D d, V x) const {
    const auto two = hn::Set(d, 2.0F);
    const auto distance = hn::Abs(hn::Sub(x, sign_threshold_));
    return hn::Max(hn::Zero(d), hn::Sub(two, hn::Mul(two, distance)));
  }

  // On the scale of the codes.
  HWY_INLINE V scaled(V x) const { return hn::Add(hn::Mul(x, inverse_), zero_); }
  HWY_INLINE V on_grid(V v) const { return hn::Min(hn::Max(v, qmin_), qmax_); }
  HWY_INLINE auto under(V v) const { return hn::Lt(v, qmin_); }
  HWY_INLINE auto over(V v) const { return hn::Gt(v, qmax_); }
  HWY_INLINE V unclipped(V x, V gradient) const {
    return hn::IfThenElseZero(hn::And(hn::Gt(x, clip_low_), hn::Lt(x, clip_high_)), gradient);
  }

 private:
  static HWY_INLINE V loaded(D d, const float* from, std::int64_t channel) {
    return from == nullptr ? hn::Zero(d) : hn::LoadU(d, from + channel);
  }

  template <typename Code>
  HWY_INLINE V dequantized(D d, const void* codes, std::int32_t zero, std::int64_t i) const {
    const hn::Rebind<Code, D> d_code;
    const hn::RebindToSigned<D> d_int;
    const auto code = hn::PromoteTo(d_int, hn::LoadU(d_code, static_cast<const Code*>(codes) + i));
    return hn::Mul(shortcut_scale_, hn::ConvertTo(d, hn::Sub(code, hn::Set(d_int, zero))));
  }

  HWY_INLINE V shortcut(D d, const ElementwiseChain& chain, std::int64_t i) const {
    if (chain.shortcut_dtype == DType::kF32) {
      return hn::LoadU(d, static_cast<const float*>(chain.shortcut) + i);
    }
    if (chain.shortcut_dtype == DType::kU8) {
      return dequantized<std::uint8_t>(d, chain.shortcut, chain.shortcut_zero_point, i);
    }
    return dequantized<std::int8_t>(d, chain.shortcut, chain.shortcut_zero_point, i);
  }

  V source_scale_, mean_, slope_, shift_, shortcut_scale_;
  V rectifier_threshold_, rectifier_slope_, rectifier_offset_;
  V clip_low_, clip_high_, inverse_, zero_, qmin_, qmax_;
  V sign_threshold_;
};

// Runs Work's run(tag, vectors, channel, first row, last row) over all tiles and blocks.
template <class Work>
struct Walk {
  Work& work;
  std::int64_t channels;
  std::int64_t first = 0;
  std::int64_t last = 0;

  HWY_INLINE void operator()(std::int64_t first_row, std::int64_t last_row) {
    first = first_row;
    last = last_row;
    for_each_block(channels, *this);
  }
  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) {
    work.run(d, vectors, channel, first, last);
  }
};

template <class Work>
HWY_INLINE void walk(const ChannelRows& size, bool last_first, Work& work) {
  Walk<Work> tiles{work, size.channels};
  for_each_tile(size.rows, last_first, tiles);
}

// The state of each vector of a block, and `turn` for each in a row.
template <class State, int kCount>
class Across {
 public:
  template <class D, class... Given>
  HWY_INLINE Across(D d, std::int64_t channel, const Given&... given)
      : lanes_(static_cast<std::int64_t>(hn::Lanes(d))),
        first_(d, channel, given...),
        rest_(d, channel + lanes_, given...) {}
  template <class Turn>
  HWY_INLINE void each(std::int64_t i, const Turn& turn) {
    turn(first_, i);
    rest_.each(i + lanes_, turn);
  }

 private:
  std::int64_t lanes_;
  State first_;
  Across<State, kCount - 1> rest_;
};
template <class State>
class Across<State, 0> {
 public:
  template <class... Given>
  HWY_INLINE explicit Across(const Given&... /*given*/) {}
  template <class Turn>
  HWY_INLINE void each(std::int64_t /*i*/, const Turn& /*turn*/) {}
};

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
