#include "bitloom/kernels/elementwise_chain.h"

#include <algorithm>
#include <array>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"

// Blocks hold vectors as members, which SVE's types cannot be; ARM runs NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#ifndef BITLOOM_GRADIENT_TASK
#define BITLOOM_GRADIENT_TASK
namespace bitloom::kernels {
// What one pass backward writes; compiled once, used by every target below.
struct GradientTask {
  const float* dy;
  double* shift_sums;  // [channels], with slope_sums, or nullptr
  double* slope_sums;
  const float* decay;  // as ChainGradients
  const float* offset;
  float* source;
  float* shortcut;
  GradientSums* grid;
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "elementwise_chain.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// Rows of a column of lines that are fetched ahead; the CPU foresees none where channels are many.
inline constexpr std::int64_t kAhead = 16;

// A block of channels: the chain's constants in registers. Conditions on `chain` are the same for
// every element, so they cost a predicted branch.
template <class D>
class Block {
 public:
  using V = hn::Vec<D>;

  HWY_INLINE Block(D d, std::int64_t channel, const ElementwiseChain& chain)
      : mean_(loaded(d, chain.mean, channel)),
        slope_(loaded(d, chain.slope, channel)),
        shift_(loaded(d, chain.shift, channel)),
        shortcut_scale_(hn::Set(d, chain.shortcut_scale)),
        clip_low_(hn::Set(d, chain.clip.low)),
        clip_high_(hn::Set(d, chain.clip.high)),
        inverse_(hn::Set(d, 1.0F / chain.scale)),
        zero_(hn::Set(d, static_cast<float>(chain.format.zero_point))),
        qmin_(hn::Set(d, static_cast<float>(chain.format.range.qmin))),
        qmax_(hn::Set(d, static_cast<float>(chain.format.range.qmax))) {}

  // The chain's real value.
  HWY_INLINE V value(D d, const ElementwiseChain& chain, std::int64_t i) const {
    V x = hn::LoadU(d, chain.source + i);
    if (chain.mean != nullptr) x = hn::Add(hn::Mul(hn::Sub(x, mean_), slope_), shift_);
    if (chain.shortcut != nullptr) x = hn::Add(x, shortcut(d, chain, i));
    if (chain.clips) x = hn::Min(hn::Max(x, clip_low_), clip_high_);
    return x;
  }

  // Its distance to the channel's mean, before it is normalized.
  HWY_INLINE V distance(D d, const ElementwiseChain& chain, std::int64_t i) const {
    return hn::Sub(hn::LoadU(d, chain.source + i), mean_);
  }

  // On the scale of the codes.
  HWY_INLINE V scaled(V x) const { return hn::Add(hn::Mul(x, inverse_), zero_); }
  HWY_INLINE V on_grid(V v) const { return hn::Min(hn::Max(v, qmin_), qmax_); }
  HWY_INLINE auto under(V v) const { return hn::Lt(v, qmin_); }
  HWY_INLINE auto over(V v) const { return hn::Gt(v, qmax_); }
  HWY_INLINE V unclipped(V x, V gradient) const {
    return hn::IfThenElseZero(hn::And(hn::Gt(x, clip_low_), hn::Lt(x, clip_high_)), gradient);
  }
  HWY_INLINE V slope() const { return slope_; }

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

  V mean_, slope_, shift_, shortcut_scale_, clip_low_, clip_high_, inverse_, zero_, qmin_, qmax_;
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

// Loops below copy what they read in each turn: a store through a pointer could change a member,
// which would then be loaded again for every vector.
struct ForwardWork {
  ElementwiseChain given;
  void* given_out;

  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                      std::int64_t last) const {
    const ElementwiseChain chain = given;
    void* const out = given_out;
    Across<Block<D>, kCount> blocks(d, channel, chain);
    for (std::int64_t row = first; row < last; ++row) {
      blocks.each(row * chain.size.channels + channel,
                  [&](const Block<D>& block, std::int64_t i) HWY_ATTR {
                    hwy::Prefetch(chain.source + i + kAhead * chain.size.channels);
                    store(d, chain, block.value(d, chain, i), block, out, i);
                  });
    }
  }

  template <class D, class V>
  static HWY_INLINE void store(D d, const ElementwiseChain& chain, V x, const Block<D>& block,
                               void* out, std::int64_t i) {
    if (!chain.quantizes) {
      hn::StoreU(x, d, static_cast<float*>(out) + i);
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
                  [&](const Block<D>& block, std::int64_t i) HWY_ATTR {
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

// One vector of channels in a pass backward.
template <bool kSums, bool kQuantizes, class D>
class GradientLanes {
 public:
  using V = hn::Vec<D>;

  HWY_INLINE GradientLanes(D d, std::int64_t channel, const ElementwiseChain& chain,
                           const GradientTask& task)
      : block_(d, channel, chain),
        decay_(!kSums && task.decay != nullptr ? hn::LoadU(d, task.decay + channel) : hn::Zero(d)),
        offset_(!kSums && task.decay != nullptr ? hn::LoadU(d, task.offset + channel)
                                                : hn::Zero(d)),
        inner_(hn::Zero(d)),
        under_(hn::Zero(d)),
        over_(hn::Zero(d)),
        shift_(hn::Zero(d)),
        slope_(hn::Zero(d)) {}

  HWY_INLINE void turn(D d, const ElementwiseChain& chain, const GradientTask& task,
                       std::int64_t i) {
    V gradient = hn::LoadU(d, task.dy + i);
    if (kQuantizes || chain.clips) gradient = masked(d, chain, task, i, gradient);
    if (kSums) {
      shift_ = hn::Add(shift_, gradient);
      slope_ = hn::Add(slope_, hn::Mul(gradient, block_.distance(d, chain, i)));
      return;
    }
    if (task.shortcut != nullptr) hn::StoreU(gradient, d, task.shortcut + i);
    if (task.source == nullptr) return;
    if (task.decay != nullptr) {
      const V pull = hn::Add(hn::Mul(decay_, block_.distance(d, chain, i)), offset_);
      gradient = hn::Sub(hn::Mul(block_.slope(), gradient), pull);
    }
    hn::StoreU(gradient, d, task.source + i);
  }

  HWY_INLINE void finish(D d, const GradientTask& task, std::int64_t channel, double* inside,
                         double* below, double* above) const {
    if (kSums) {
      add_lanes(d, shift_, task.shift_sums + channel);
      add_lanes(d, slope_, task.slope_sums + channel);
    }
    if (kQuantizes && task.grid != nullptr) {
      add_lanes(d, inner_, inside);
      add_lanes(d, under_, below);
      add_lanes(d, over_, above);
    }
  }

 private:
  HWY_INLINE V masked(D d, const ElementwiseChain& chain, const GradientTask& task, std::int64_t i,
                      V gradient) {
    const V x =
        chain.output != nullptr ? hn::LoadU(d, chain.output + i) : block_.value(d, chain, i);
    if (kQuantizes) {
      const V v = block_.scaled(x);
      const auto is_under = block_.under(v);
      const auto is_over = block_.over(v);
      const V passed = hn::IfThenElseZero(hn::AndNot(is_over, hn::Not(is_under)), gradient);
      if (task.grid != nullptr) {
        // Outside v may be infinite, so it is clamped before the subtraction.
        const V near = block_.on_grid(v);
        inner_ = hn::Add(inner_, hn::Mul(passed, hn::Sub(hn::Round(near), near)));
        under_ = hn::Add(under_, hn::IfThenElseZero(is_under, gradient));
        over_ = hn::Add(over_, hn::IfThenElseZero(is_over, gradient));
      }
      gradient = passed;
    }
    return chain.clips ? block_.unclipped(x, gradient) : gradient;
  }

  Block<D> block_;
  V decay_, offset_, inner_, under_, over_, shift_, slope_;
};

struct GradientWork {
  ElementwiseChain given;
  GradientTask given_task;
  double inside[hn::MaxLanes(Widest())] = {};
  double below[hn::MaxLanes(Widest())] = {};
  double above[hn::MaxLanes(Widest())] = {};

  // One loop for each of what it is for and what it goes through: a loop for all was three times
  // as slow.
  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> vectors, std::int64_t channel, std::int64_t first,
                      std::int64_t last) {
    if (given_task.shift_sums != nullptr) {
      choose<true>(d, vectors, channel, first, last);
    } else {
      choose<false>(d, vectors, channel, first, last);
    }
  }

  template <bool kSums, class D, int kCount>
  HWY_INLINE void choose(D d, Vectors<kCount> vectors, std::int64_t channel, std::int64_t first,
                         std::int64_t last) {
    if (given.quantizes) {
      loop<kSums, true>(d, vectors, channel, first, last);
    } else {
      loop<kSums, false>(d, vectors, channel, first, last);
    }
  }

  template <bool kSums, bool kQuantizes, class D, int kCount>
  HWY_INLINE void loop(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                       std::int64_t last) {
    using Lanes = GradientLanes<kSums, kQuantizes, D>;
    const ElementwiseChain chain = given;
    const GradientTask task = given_task;
    Across<Lanes, kCount> across(d, channel, chain, task);
    const std::int64_t step = kSums ? -chain.size.channels : chain.size.channels;
    std::int64_t start = (kSums ? last - 1 : first) * chain.size.channels + channel;
    const float* const watched = chain.output != nullptr ? chain.output : chain.source;
    for (std::int64_t row = first; row < last; ++row, start += step) {
      across.each(start, [&](Lanes& lanes, std::int64_t i) HWY_ATTR {
        hwy::Prefetch(task.dy + i + kAhead * step);
        hwy::Prefetch(watched + i + kAhead * step);
        lanes.turn(d, chain, task, i);
      });
    }
    across.each(channel, [&](const Lanes& lanes, std::int64_t at)
                             HWY_ATTR { lanes.finish(d, task, at, inside, below, above); });
  }
};

void gradient_part(const ElementwiseChain& chain, const GradientTask& task) {
  GradientWork work{chain, task};
  walk(chain.size, task.shift_sums != nullptr, work);
  if (task.grid == nullptr) return;
  *task.grid = {};
  for (std::size_t k = 0; k < hn::Lanes(Widest()); ++k) {
    task.grid->inside += work.inside[k];
    task.grid->below += work.below[k];
    task.grid->above += work.above[k];
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(forward_part);
HWY_EXPORT(range_part);
HWY_EXPORT(gradient_part);

constexpr int kMostPieces = 256;
// Channels of a chain that has none of its own.
constexpr std::int64_t kFlatChannels = 64;

// The chain from `row` on, with `size` rows and channels.
ElementwiseChain part_of(const ElementwiseChain& chain, std::int64_t first_element,
                         const ChannelRows& size) {
  ElementwiseChain part = chain;
  part.size = size;
  part.source += first_element;
  if (part.output != nullptr) part.output += first_element;
  if (part.shortcut != nullptr) {
    part.shortcut = static_cast<const std::byte*>(part.shortcut) +
                    static_cast<std::size_t>(first_element) * size_of(part.shortcut_dtype);
  }
  return part;
}

// body(part of the chain, its first element, piece) over all pieces. Without normalization
// channels mean nothing: the tensor is then rows of 64 and a rest, which the last piece takes in a
// second call.
template <typename Body>
void for_each_part(const ElementwiseChain& chain, const Body& body) {
  apply_highway_cap();
  const std::int64_t elements = chain.size.rows * chain.size.channels;
  const bool flat = chain.mean == nullptr;
  const std::int64_t channels = flat ? kFlatChannels : chain.size.channels;
  const std::int64_t rows = elements / channels;
  const std::int64_t pieces = chain.size.pieces;
  parallel_for(pieces, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t piece = begin; piece < end; ++piece) {
      const std::int64_t first = rows * piece / pieces;
      const std::int64_t last = rows * (piece + 1) / pieces;
      body(part_of(chain, first * channels, {.rows = last - first, .channels = channels}),
           first * channels, piece);
      if (piece + 1 == pieces && elements > rows * channels) {
        body(part_of(chain, rows * channels, {.rows = 1, .channels = elements - rows * channels}),
             rows * channels, piece);
      }
    }
  });
}

void add(const GradientSums& part, GradientSums& sums) {
  sums.inside += part.inside;
  sums.below += part.below;
  sums.above += part.above;
}

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
      one.source = &end;
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

void chain_gradient_sums(const ElementwiseChain& chain, const float* dy, const ChainSums& sums,
                         std::byte* scratch) noexcept {
  const std::int64_t channels = chain.size.channels;
  auto* doubles = reinterpret_cast<double*>(scratch);
  std::array<GradientSums, kMostPieces> parts{};
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t first, std::int64_t piece) {
    GradientTask task{.dy = dy + first,
                      .shift_sums = doubles + piece * 2 * channels,
                      .slope_sums = doubles + (piece * 2 + 1) * channels};
    std::fill(task.shift_sums, task.shift_sums + 2 * channels, 0.0);
    if (sums.grid != nullptr) task.grid = &parts[static_cast<std::size_t>(piece)];
    HWY_DYNAMIC_DISPATCH(gradient_part)(part, task);
  });
  for (std::int64_t c = 0; c < channels; ++c) {
    sums.shift[c] = 0.0;
    sums.slope[c] = 0.0;
    for (std::int64_t piece = 0; piece < chain.size.pieces; ++piece) {
      sums.shift[c] += doubles[piece * 2 * channels + c];
      sums.slope[c] += doubles[(piece * 2 + 1) * channels + c];
    }
  }
  if (sums.grid == nullptr) return;
  *sums.grid = {};
  for (const GradientSums& part : parts) add(part, *sums.grid);
}

void chain_backward(const ElementwiseChain& chain, const float* dy,
                    const ChainGradients& gradients) noexcept {
  std::array<GradientSums, kMostPieces> parts{};
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t first, std::int64_t piece) {
    GradientSums own;
    const auto from = [first](float* start) { return start == nullptr ? nullptr : start + first; };
    HWY_DYNAMIC_DISPATCH(gradient_part)
    (part, {.dy = dy + first,
            .decay = gradients.decay,
            .offset = gradients.offset,
            .source = from(gradients.source),
            .shortcut = from(gradients.shortcut),
            .grid = gradients.grid == nullptr ? nullptr : &own});
    add(own, parts[static_cast<std::size_t>(piece)]);
  });
  if (gradients.grid == nullptr) return;
  *gradients.grid = {};
  for (const GradientSums& part : parts) add(part, *gradients.grid);
}

}  // namespace bitloom::kernels
#endif
