#include "bitloom/kernels/elementwise_chain.h"

#include <algorithm>
#include <array>

#include "bitloom/kernels/highway.h"
#include "chain_parts.h"

// Blocks hold vectors as members, which SVE's types cannot be; ARM runs NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "elementwise_chain.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "chain_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// Loops below copy what they read in each turn: a store through a pointer could change a member,
// which would then be loaded again for every vector. They fetch ahead each place they write: stores
// that wait for their lines made signs beside reals as slow as a pass of their own.
struct ForwardWork {
  ElementwiseChain given;
  void* given_out;

  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                      std::int64_t last) const {
    const ElementwiseChain chain = given;
    void* const out = given_out;
    const auto* const from = static_cast<const std::byte*>(chain.source.at);
    const auto* const to = static_cast<const std::byte*>(out);
    const auto from_width = static_cast<std::int64_t>(size_of(chain.source.dtype));
    const std::int64_t width = chain.quantizes ? 1 : 4;
    const std::int64_t step = chain.size.channels;
    Across<Block<D>, kCount> blocks(d, channel, chain);
    for (std::int64_t row = first; row < last; ++row) {
      blocks.each(row * step + channel,
                  [&](const Block<D>& block, std::int64_t i) BITLOOM_INLINE_LAMBDA {
                    hwy::Prefetch(from + (i + kAhead * step) * from_width);
                    hwy::Prefetch(to + (i + kAhead * step) * width);
                    if (chain.signs) hwy::Prefetch(chain.sign_codes + i + kAhead * step);
                    store(d, chain, block.value(d, chain, i), block, out, i);
                  });
    }
  }

  template <class D, class V>
  static HWY_INLINE void store(D d, const ElementwiseChain& chain, V x, const Block<D>& block,
                               void* out, std::int64_t i) {
    if (!chain.quantizes) {
      hn::StoreU(x, d, static_cast<float*>(out) + i);
      if (chain.signs) block.store_sign(d, x, chain.sign_codes + i);
      return;
    }
    const hn::RebindToSigned<D> d_int;
    const auto code = hn::ConvertTo(d_int, hn::Round(block.on_grid(block.scaled(x))));
    if (chain.format.is_signed) {
      const hn::Rebind<std::int8_t, D> d_code;
      hn::StoreU(hn::DemoteTo(d_code, code), d_code, static_cast<std::int8_t*>(out) + i);
    } else {
      const hn::Rebind<std::uint8_t, D> d_code;
      hn::StoreU(hn::DemoteTo(d_code, code), d_code, static_cast<std::uint8_t*>(out) + i);
    }
  }
};

void forward_part(const ElementwiseChain& chain, void* out) {
  ForwardWork work{chain, out};
  walk(chain.size, false, work);
}

struct RangeWork {
  ElementwiseChain chain;
  MinMax range;
  float poison = 0.0F;  // x * 0 is NaN where x is NaN or infinite

  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                      std::int64_t last) {
    Across<Block<D>, kCount> blocks(d, channel, chain);
    auto low = hn::Set(d, range.min);
    auto high = hn::Set(d, range.max);
    auto bad = hn::Zero(d);
    for (std::int64_t row = first; row < last; ++row) {
      blocks.each(row * chain.size.channels + channel,
                  [&](const Block<D>& block, std::int64_t i) BITLOOM_INLINE_LAMBDA {
                    const auto x = block.value(d, chain, i);
                    low = hn::Min(low, x);
                    high = hn::Max(high, x);
                    bad = hn::Add(bad, hn::Mul(x, hn::Zero(d)));
                  });
    }
    range = {hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high))};
    poison += hn::GetLane(hn::SumOfLanes(d, bad));
  }
};

MinMax range_part(const ElementwiseChain& chain) {
  RangeWork work{chain, {}};
  work.range = {std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
  walk(chain.size, true, work);
  return {work.range.min + work.poison, work.range.max + work.poison};
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(forward_part);
HWY_EXPORT(range_part);

MinMax joined(const MinMax& a, const MinMax& b) {
  const float poison = a.min * 0.0F + b.min * 0.0F;  // NaN where one is
  return {std::min(a.min, b.min) + poison, std::max(a.max, b.max) + poison};
}

constexpr MinMax kNothing{std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};

// A channel's x rises or falls with its source, so its ends have the range's ends.
MinMax range_of_ends(const ElementwiseChain& chain, const MinMax* ranges) {
  MinMax range = kNothing;
  for (std::int64_t c = 0; c < chain.size.channels; ++c) {
    for (const float end : {ranges[c].min, ranges[c].max}) {
      ElementwiseChain one = part_of(chain, 0, {.rows = 1, .channels = 1});
      one.source = {&end};
      one.mean += c;
      one.slope += c;
      one.shift += c;
      range = joined(range, reference::chain_range(one, nullptr));
    }
  }
  return range;
}

}  // namespace

void chain_forward(const ElementwiseChain& chain, void* out) noexcept {
  const std::size_t width = chain.quantizes ? 1 : sizeof(float);
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t first, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(forward_part)
    (part, static_cast<std::byte*>(out) + static_cast<std::size_t>(first) * width);
  });
}

MinMax chain_range(const ElementwiseChain& chain, const MinMax* ranges) noexcept {
  if (ranges != nullptr && chain.mean != nullptr && chain.shortcut == nullptr) {
    return range_of_ends(chain, ranges);
  }
  std::array<MinMax, kMostPieces> parts;
  parts.fill(kNothing);
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t, std::int64_t piece) {
    if (part.size.rows == 0) return;
    MinMax& range = parts[static_cast<std::size_t>(piece)];
    range = joined(range, HWY_DYNAMIC_DISPATCH(range_part)(part));
  });
  MinMax range = kNothing;
  for (const MinMax& part : parts) range = joined(range, part);
  return range;
}

}  // namespace bitloom::kernels
#endif
