// What follows the sums of a tile: s32, reals or sign bits, panel by panel. Included once per
// target. Goes to: popcount_tiles.cpp.
#if defined(BITLOOM_POPCOUNT_FINISH_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_POPCOUNT_FINISH_INL_H
#undef BITLOOM_POPCOUNT_FINISH_INL_H
#else
#define BITLOOM_POPCOUNT_FINISH_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>
#include <cstring>

#include "popcount_counts-inl.h"
#include "popcount_tiles.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
#if !HWY_HAVE_SCALABLE && HWY_TARGET != HWY_SCALAR
namespace hn = hwy::HWY_NAMESPACE;

// Lowest `kPanel` bits: lanes of a panel where sum > threshold.
template <typename Holds>
HWY_INLINE std::uint32_t panel_bits(const Holds& holds) {
  std::uint32_t bits = 0;
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
#if HWY_TARGET <= HWY_AVX3
    bits = holds(v).raw;
#else
    std::uint8_t bytes[8] = {};
    hn::StoreMaskBits(Ints(), holds(v), bytes);
    bits |= (bytes[0] & ((1U << kLanes) - 1U)) << (v * kLanes);
#endif
  }
  return bits;
}

// Stores the lanes of one vector that belong to real outputs.
template <class D, class Vec, typename T>
HWY_INLINE void store_outputs(D d, Vec v, std::int64_t count, T* to) {
  if (count >= kLanes) {
    hn::StoreU(v, d, to);
  } else if (count > 0) {
    T lanes[kLanes];
    hn::StoreU(v, d, lanes);
    std::memcpy(to, lanes, static_cast<std::size_t>(count) * sizeof(T));
  }
}

// The upper halves of the sums as floats.
HWY_INLINE void finish_sums(hn::Vec<Ints> acc, std::int64_t count, Bf16* to) {
  const hn::Rebind<std::uint16_t, Floats> d_half;
  const auto upper = hn::ShiftRight<16>(hn::BitCast(Words(), hn::ConvertTo(Floats(), acc)));
  store_outputs(d_half, hn::DemoteTo(d_half, hn::BitCast(Ints(), upper)), count,
                reinterpret_cast<std::uint16_t*>(to));
}

// A vector of `count` floats, zeros behind them.
HWY_INLINE hn::Vec<Floats> load_outputs(const float* from, std::int64_t count) {
  const Floats d;
  if (count >= kLanes) return hn::LoadU(d, from);
  float lanes[kLanes] = {};
  if (count > 0) std::memcpy(lanes, from, static_cast<std::size_t>(count) * sizeof(float));
  return hn::LoadU(d, lanes);
}

HWY_INLINE void finish_reals(const PopcountFinish& finish, hn::Vec<Ints> acc, std::int64_t pixel,
                             std::int64_t output, std::int64_t count) {
  const Floats d;
  auto t = hn::Mul(hn::ConvertTo(d, acc), hn::LoadU(d, finish.multiplier + output));
  t = hn::Add(t, hn::LoadU(d, finish.bias + output));
  if (finish.map != nullptr) t = hn::Mul(t, hn::Set(d, finish.map[pixel]));
  const std::int64_t at = pixel * finish.pixel_step + output;
  if (finish.residual != nullptr) t = hn::Add(t, load_outputs(finish.residual + at, count));
  if (finish.clips) {
    const auto low = hn::Set(d, finish.low);
    const auto high = hn::Set(d, finish.high);
    t = hn::IfThenElse(hn::Gt(t, low), hn::IfThenElse(hn::Lt(t, high), t, high), low);
  }
  store_outputs(d, t, count, finish.reals + at);
}

// From what was counted; `at` is where the lanes' class starts in base.
template <BitProduct kProduct>
HWY_INLINE hn::Vec<Ints> accumulator(const PopcountTiles& tiles, V negative, V both,
                                     std::int64_t at) {
  const Ints d;
  const auto doubled = hn::BitCast(d, hn::ShiftLeft<1>(negative));
  if (kProduct == BitProduct::kTernary) return hn::Sub(hn::BitCast(d, both), doubled);
  return hn::Sub(hn::LoadU(d, tiles.base + at), doubled);
}

// All outputs of one panel at one pixel. `row` is where the pixel's class starts in base.
template <BitProduct kProduct>
HWY_INLINE void finish_panel(const PopcountTiles& tiles, const PopcountFinish& finish,
                             const V* negative, const V* both, std::int64_t pixel, std::int64_t row,
                             std::int64_t panel) {
  constexpr bool kTernary = kProduct == BitProduct::kTernary;
  const Ints d;
  const std::int64_t first = panel * kPanel;
  const auto sums_at = [&](int v) HWY_ATTR {
    return accumulator<kProduct>(tiles, negative[v], both[v], row + first + v * kLanes);
  };
  if (finish.bits != nullptr) {
    const std::uint32_t bits = panel_bits([&](int v) HWY_ATTR {
      if (kTernary) {
        return hn::Lt(sums_at(v), hn::LoadU(d, finish.threshold + first + v * kLanes));
      }
      return hn::Gt(hn::BitCast(d, negative[v]),
                    hn::LoadU(d, finish.threshold + row + first + v * kLanes));
    });
    // Little end first: half a word each.
    auto* to = reinterpret_cast<std::uint8_t*>(finish.bits + pixel * finish.pixel_step) + 2 * panel;
    const auto half = static_cast<std::uint16_t>(bits);
    std::memcpy(to, &half, sizeof(half));
    if (panel + 1 == tiles.panels && panel % 2 == 0) std::memset(to + 2, 0, 2);
    return;
  }
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const std::int64_t output = first + v * kLanes;
    const std::int64_t count = tiles.outputs - output;
    if (finish.acc != nullptr) {
      store_outputs(d, sums_at(v), count, finish.acc + pixel * finish.pixel_step + output);
    } else if (finish.sums != nullptr) {
      finish_sums(sums_at(v), count, finish.sums + pixel * finish.pixel_step + output);
    } else {
      finish_reals(finish, sums_at(v), pixel, output, count);
    }
  }
}

// Sums of whole panels.
template <BitProduct kProduct, int P, int O>
HWY_INLINE void finish_whole_sums(const PopcountTiles& tiles, const PopcountFinish& finish,
                                  const TileSums<P, O>& sums, const std::int64_t (&index)[P],
                                  const std::int64_t (&row)[P], std::int64_t panel) {
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O * kVectors; ++q) {
      const std::int64_t output = panel * kPanel + q * kLanes;
      finish_sums(
          accumulator<kProduct>(tiles, sums.negative[p][q], sums.both[p][q], row[p] + output),
          kLanes, finish.sums + index[p] * finish.pixel_step + output);
    }
  }
}

// Reals of whole panels without map and clip, the usual case: nothing to decide in the loops, which
// is a fifth of the time of a layer with 64 channels.
template <BitProduct kProduct, bool kResidual, int P, int O>
HWY_INLINE void finish_whole_reals(const PopcountTiles& tiles, const PopcountFinish& finish,
                                   const TileSums<P, O>& sums, const std::int64_t (&index)[P],
                                   const std::int64_t (&row)[P], std::int64_t panel) {
  const Floats d;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O * kVectors; ++q) {
      const std::int64_t output = panel * kPanel + q * kLanes;
      const auto acc =
          accumulator<kProduct>(tiles, sums.negative[p][q], sums.both[p][q], row[p] + output);
      auto t = hn::Mul(hn::ConvertTo(d, acc), hn::LoadU(d, finish.multiplier + output));
      t = hn::Add(t, hn::LoadU(d, finish.bias + output));
      const std::int64_t at = index[p] * finish.pixel_step + output;
      if (kResidual) t = hn::Add(t, hn::LoadU(d, finish.residual + at));
      hn::StoreU(t, d, finish.reals + at);
    }
  }
}

// All outputs of a tile; index and row: each pixel, and where its class starts in base.
template <BitProduct kProduct, int P, int O>
HWY_INLINE void finish_tile(const PopcountTiles& tiles, const PopcountFinish& finish,
                            const TileSums<P, O>& sums, const std::int64_t (&index)[P],
                            const std::int64_t (&row)[P], std::int64_t panel) {
  const bool whole = (panel + O) * kPanel <= tiles.outputs;
  if (finish.sums != nullptr && whole) {
    finish_whole_sums<kProduct, P, O>(tiles, finish, sums, index, row, panel);
    return;
  }
  if (finish.reals != nullptr && whole && finish.map == nullptr && !finish.clips) {
    if (finish.residual != nullptr) {
      finish_whole_reals<kProduct, true, P, O>(tiles, finish, sums, index, row, panel);
    } else {
      finish_whole_reals<kProduct, false, P, O>(tiles, finish, sums, index, row, panel);
    }
    return;
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O; ++q) {
      finish_panel<kProduct>(tiles, finish, sums.negative[p] + q * kVectors,
                             sums.both[p] + q * kVectors, index[p], row[p], panel + q);
    }
  }
}

#endif
}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
