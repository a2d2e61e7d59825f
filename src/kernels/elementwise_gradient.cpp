#include <algorithm>
#include <array>

#include "bitloom/kernels/elementwise_chain.h"
#include "bitloom/kernels/highway.h"
#include "chain_parts.h"
#include "channel_pieces.h"

// Blocks hold vectors as members, which SVE's types cannot be; ARM runs NEON.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)

#ifndef BITLOOM_GRADIENT_TASK
#define BITLOOM_GRADIENT_TASK
namespace bitloom::kernels {
// What one pass over a piece reads and writes; compiled once, used by every target below.
struct GradientTask {
  OutputGradient dy;
  ChainGradients to;
};
struct NormalizationTask {
  ElementwiseChain chain;
  NormalizationGradient terms;
  InputGradient dx;
  InputGradient dsource;
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "elementwise_gradient.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "chain_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// Of GradientSums; one for all vectors of a block, which leaves registers for theirs.
template <class D>
struct GridLanes {
  using V = hn::Vec<D>;
  V inner, under, over;

  HWY_INLINE explicit GridLanes(D d) : inner(hn::Zero(d)), under(inner), over(inner) {}
};

// One vector of channels on the way to dx.
template <bool kSums, bool kQuantizes, bool kSigns, bool kRectifies, class D>
class GradientLanes {
 public:
  using V = hn::Vec<D>;

  HWY_INLINE GradientLanes(D d, std::int64_t channel, const ElementwiseChain& chain)
      : block_(d, channel, chain),
        shift_(hn::Zero(d)),
        slope_(shift_),
        signs_(shift_),
        rectifier_slope_(shift_),
        rectifier_offset_(shift_) {}

  HWY_INLINE void turn(D d, const ElementwiseChain& chain, const GradientTask& task, std::int64_t i,
                       GridLanes<D>& grid) {
    const OutputGradient& dy = task.dy;
    V gradient = load_terms(d, dy, i);
    const V distance = kSums ? block_.distance(d, chain, i) : gradient;
    V above = distance;
    if (kRectifies) above = block_.above_threshold(block_.summed(d, chain, distance, i));
    if (kSigns && (!kRectifies || chain.signs)) {
      const OutputGradient& of_sign = chain.sign_gradient;
      const V x = kRectifies ? block_.rectified(above) : hn::LoadU(d, chain.output + i);
      const V slope = block_.sign_slope(d, x);
      const V share = hn::Mul(load_gradient(d, of_sign.first, of_sign.dtype, i), slope);
      signs_ = hn::Add(signs_, share);
      gradient = hn::Add(gradient, share);
    }
    if (kRectifies) {
      const V below = hn::Min(above, hn::Zero(d));
      rectifier_slope_ = hn::Add(rectifier_slope_, hn::Mul(gradient, below));
      rectifier_offset_ = hn::Add(rectifier_offset_, gradient);
      gradient = block_.rectified_gradient(above, gradient);
    }
    if (kQuantizes || chain.clips) gradient = masked(d, chain, task, i, gradient, grid);
    if (kSums) {
      shift_ = hn::Add(shift_, gradient);
      slope_ = hn::Add(slope_, hn::Mul(gradient, distance));
    }
    const bool is_bf16 = !kSigns && !kRectifies && dy.second == nullptr && dy.dtype == DType::kBf16;
    if (task.to.dx.at != nullptr) {
      store_gradient(d, gradient, task.to.dx.at, task.to.dx.dtype, is_bf16, i);
    }
    if (task.to.again.at != nullptr) {
      store_gradient(d, gradient, task.to.again.at, task.to.again.dtype, is_bf16, i);
    }
  }

  HWY_INLINE void finish(D d, const GradientTask& task, std::int64_t channel) const {
    if (!kSums) return;
    add_lanes(d, shift_, task.to.shift + channel);
    add_lanes(d, slope_, task.to.slope + channel);
    if (kSigns) add_lanes(d, signs_, task.to.signs + channel);  // 0 without signs
    if (!kRectifies) return;
    add_lanes(d, rectifier_slope_, task.to.rectifier_slope + channel);
    add_lanes(d, rectifier_offset_, task.to.rectifier_offset + channel);
  }

 private:
  HWY_INLINE V masked(D d, const ElementwiseChain& chain, const GradientTask& task, std::int64_t i,
                      V gradient, GridLanes<D>& grid) {
    const V x =
        chain.output != nullptr ? hn::LoadU(d, chain.output + i) : block_.value(d, chain, i);
    if (kQuantizes) {
      const V v = block_.scaled(x);
      const auto is_under = block_.under(v);
      const auto is_over = block_.over(v);
      const V passed = hn::IfThenElseZero(hn::AndNot(is_over, hn::Not(is_under)), gradient);
      if (task.to.grid != nullptr) {
        // Outside v may be infinite, so it is clamped before the subtraction.
        const V near = block_.on_grid(v);
        grid.inner = hn::Add(grid.inner, hn::Mul(passed, hn::Sub(hn::Round(near), near)));
        grid.under = hn::Add(grid.under, hn::IfThenElseZero(is_under, gradient));
        grid.over = hn::Add(grid.over, hn::IfThenElseZero(is_over, gradient));
      }
      gradient = passed;
    }
    return chain.clips ? block_.unclipped(x, gradient) : gradient;
  }

  Block<D> block_;
  V shift_, slope_, signs_, rectifier_slope_, rectifier_offset_;
};

struct GradientWork {
  ElementwiseChain given;
  GradientTask given_task;
  double inside[hn::MaxLanes(Widest())] = {};
  double below[hn::MaxLanes(Widest())] = {};
  double above[hn::MaxLanes(Widest())] = {};

  // One loop for each of what it is for and what it goes through: a loop for all was three times
  // as slow. Most rectifiers have signs behind them.
  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> vectors, std::int64_t channel, std::int64_t first,
                      std::int64_t last) {
    if (given_task.to.shift != nullptr) {
      choose<true>(d, vectors, channel, first, last);
    } else {
      choose<false>(d, vectors, channel, first, last);
    }
  }

  template <bool kSums, class D, int kCount>
  HWY_INLINE void choose(D d, Vectors<kCount> vectors, std::int64_t channel, std::int64_t first,
                         std::int64_t last) {
    if (given.quantizes) {
      loop<kSums, true, false, false>(d, vectors, channel, first, last);
    } else if (kSums && given.rectifies) {
      loop<kSums, false, kSums, kSums>(d, vectors, channel, first, last);
    } else if (kSums && given.signs) {
      loop<kSums, false, kSums, false>(d, vectors, channel, first, last);
    } else {
      loop<kSums, false, false, false>(d, vectors, channel, first, last);
    }
  }

  // Not inlined: in one function of all loops the compiler's time grows out of hand.
  template <bool kSums, bool kQuantizes, bool kSigns, bool kRectifies, class D, int kCount>
  HWY_NOINLINE void loop(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                         std::int64_t last) {
    using Lanes = GradientLanes<kSums, kQuantizes, kSigns, kRectifies, D>;
    const ElementwiseChain chain = given;
    const GradientTask task = given_task;
    Across<Lanes, kCount> across(d, channel, chain);
    GridLanes<D> grid(d);
    const std::int64_t step = -chain.size.channels;
    std::int64_t start = (last - 1) * chain.size.channels + channel;
    const auto* const source = static_cast<const std::byte*>(chain.source.at);
    const auto source_width = static_cast<std::int64_t>(size_of(chain.source.dtype));
    const float* const output = chain.output;
    const auto* const shortcut =
        kRectifies ? static_cast<const std::byte*>(chain.shortcut) : nullptr;
    const auto shortcut_width = static_cast<std::int64_t>(size_of(chain.shortcut_dtype));
    const auto* const dy = static_cast<const std::byte*>(task.dy.first);
    const auto* const second = static_cast<const std::byte*>(task.dy.second);
    const auto width = static_cast<std::int64_t>(size_of(task.dy.dtype));
    const auto* const dx = static_cast<const std::byte*>(task.to.dx.at);
    const auto to_width = static_cast<std::int64_t>(size_of(task.to.dx.dtype));
    for (std::int64_t row = first; row < last; ++row, start += step) {
      across.each(start, [&](Lanes& lanes, std::int64_t i) BITLOOM_INLINE_LAMBDA {
        hwy::Prefetch(dy + (i + kAhead * step) * width);
        if (output != nullptr) hwy::Prefetch(output + i + kAhead * step);
        if (kSums || output == nullptr) hwy::Prefetch(source + (i + kAhead * step) * source_width);
        if (shortcut != nullptr) hwy::Prefetch(shortcut + (i + kAhead * step) * shortcut_width);
        if (second != nullptr) hwy::Prefetch(second + (i + kAhead * step) * width);
        if (dx != nullptr) hwy::Prefetch(dx + (i + kAhead * step) * to_width);
        lanes.turn(d, chain, task, i, grid);
      });
    }
    across.each(channel,
                [&](const Lanes& lanes, std::int64_t at) HWY_ATTR { lanes.finish(d, task, at); });
    if (!kQuantizes || task.to.grid == nullptr) return;
    add_lanes(d, grid.inner, inside);
    add_lanes(d, grid.under, below);
    add_lanes(d, grid.over, above);
  }
};

void gradient_part(const ElementwiseChain& chain, const GradientTask& task) {
  GradientWork work{chain, task};
  walk(chain.size, true, work);
  if (task.to.grid == nullptr) return;
  *task.to.grid = {};
  for (std::size_t k = 0; k < hn::Lanes(Widest()); ++k) {
    task.to.grid->inside += work.inside[k];
    task.to.grid->below += work.below[k];
    task.to.grid->above += work.above[k];
  }
}

// Constants of one vector of channels, from dx to dsource.
template <class D>
struct NormalizationLanes {
  using V = hn::Vec<D>;
  V scale, mean, slope, decay, offset;

  HWY_INLINE NormalizationLanes(D d, std::int64_t channel, const NormalizationTask& task)
      : scale(task.chain.source.scale == nullptr ? hn::Zero(d)
                                                 : hn::LoadU(d, task.chain.source.scale + channel)),
        mean(hn::LoadU(d, task.chain.mean + channel)),
        slope(hn::LoadU(d, task.terms.slope + channel)),
        decay(hn::LoadU(d, task.terms.decay + channel)),
        offset(hn::LoadU(d, task.terms.offset + channel)) {}
};

struct NormalizationWork {
  NormalizationTask given;

  template <class D, int kCount>
  HWY_INLINE void run(D d, Vectors<kCount> /*vectors*/, std::int64_t channel, std::int64_t first,
                      std::int64_t last) const {
    const NormalizationTask task = given;
    Across<NormalizationLanes<D>, kCount> across(d, channel, task);
    const std::int64_t step = task.chain.size.channels;
    const ChannelValues source = task.chain.source;
    const auto* const from = static_cast<const std::byte*>(source.at);
    const auto from_width = static_cast<std::int64_t>(size_of(source.dtype));
    const auto* const dx = static_cast<const std::byte*>(task.dx.at);
    const auto* const dsource = static_cast<const std::byte*>(task.dsource.at);
    const auto width = static_cast<std::int64_t>(size_of(task.dx.dtype));
    const auto to_width = static_cast<std::int64_t>(size_of(task.dsource.dtype));
    for (std::int64_t row = first; row < last; ++row) {
      across.each(row * step + channel,
                  [&](const NormalizationLanes<D>& lanes, std::int64_t i) BITLOOM_INLINE_LAMBDA {
                    hwy::Prefetch(dx + (i + kAhead * step) * width);
                    hwy::Prefetch(from + (i + kAhead * step) * from_width);
                    hwy::Prefetch(dsource + (i + kAhead * step) * to_width);
                    const auto x = load_values(d, source, i, lanes.scale);
                    const auto distance = hn::Sub(x, lanes.mean);
                    const auto pull = hn::Add(hn::Mul(lanes.decay, distance), lanes.offset);
                    const auto gradient = load_gradient(d, task.dx.at, task.dx.dtype, i);
                    store_gradient(d, hn::Sub(hn::Mul(lanes.slope, gradient), pull),
                                   task.dsource.at, task.dsource.dtype, false, i);
                  });
    }
  }
};

void normalization_part(const NormalizationTask& task) {
  NormalizationWork work{task};
  walk(task.chain.size, false, work);
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(gradient_part);
HWY_EXPORT(normalization_part);

void add(const GradientSums& part, GradientSums& sums) {
  sums.inside += part.inside;
  sums.below += part.below;
  sums.above += part.above;
}

}  // namespace

void chain_gradient(const ElementwiseChain& chain, const OutputGradient& dy,
                    const ChainGradients& to, std::byte* scratch) noexcept {
  const std::int64_t channels = chain.size.channels;
  std::array<GradientSums, kMostPieces> parts{};
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t first, std::int64_t piece) {
    GradientSums own;
    GradientTask task{
        .dy = from_element(dy, first),
        .to = {.dx = from_element(to.dx, first), .again = from_element(to.again, first)}};
    if (to.shift != nullptr) {
      double* sums = piece_sums(scratch, chain.size, piece);
      std::fill_n(sums, kSumRows * channels, 0.0);
      task.to.shift = sums;
      task.to.slope = sums + channels;
      task.to.signs = sums + 2 * channels;
      task.to.rectifier_slope = sums + 3 * channels;
      task.to.rectifier_offset = sums + 4 * channels;
    }
    if (to.grid != nullptr) task.to.grid = &own;
    HWY_DYNAMIC_DISPATCH(gradient_part)(part, task);
    add(own, parts[static_cast<std::size_t>(piece)]);
  });
  double* const wanted[] = {to.shift, to.slope, to.signs, to.rectifier_slope, to.rectifier_offset};
  for (std::int64_t k = 0; k < kSumRows; ++k) {
    if (wanted[k] != nullptr) join_sums(scratch, chain.size, k, 1.0, wanted[k]);
  }
  if (to.grid == nullptr) return;
  *to.grid = {};
  for (const GradientSums& part : parts) add(part, *to.grid);
}

void normalization_gradient(const ElementwiseChain& chain, const InputGradient& dx,
                            const NormalizationGradient& terms,
                            const InputGradient& dsource) noexcept {
  for_each_part(chain, [&](const ElementwiseChain& part, std::int64_t first, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(normalization_part)
    ({.chain = part,
      .terms = terms,
      .dx = from_element(dx, first),
      .dsource = from_element(dsource, first)});
  });
}

}  // namespace bitloom::kernels
#endif
