// VPOPCNTDQ is worth a build of its own: Highway leaves it out unless asked for.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#include "popcount_tiles.h"

#include <algorithm>
#include <cstring>

#include "bitloom/kernels/highway.h"
#include "bitloom/kernels/popcount_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "popcount_tiles.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_HAVE_SCALABLE || HWY_TARGET == HWY_SCALAR

// Vectors of unknown length cannot stand in arrays; one lane gains nothing.
void run_range(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) {
  reference::run_tiles(tiles, finish, source, first, last);
}

#else

using Words = hn::CappedTag<std::uint32_t, kPanel>;
using Ints = hn::RebindToSigned<Words>;
using Floats = hn::Rebind<float, Words>;
using Bytes = hn::Repartition<std::uint8_t, Words>;
using V = hn::Vec<Words>;
using VBytes = hn::Vec<Bytes>;

constexpr int kLanes = static_cast<int>(hn::MaxLanes(Words()));
constexpr int kVectors = static_cast<int>(kPanel) / kLanes;  // of a panel

// (a ^ b) & mask.
HWY_INLINE V xor_and(V a, V b, V mask) {
#if HWY_TARGET <= HWY_AVX3
  return V{_mm512_ternarylogic_epi32(a.raw, b.raw, mask.raw, 0x28)};
#else
  return hn::And(hn::Xor(a, b), mask);
#endif
}

// Byte counts to word counts.
HWY_INLINE V widened(VBytes bytes) {
  const Words d;
  const V pairs = hn::BitCast(d, bytes);
  const V even = hn::And(pairs, hn::Set(d, 0x00FF00FFU));
  const V sums = hn::Add(even, hn::And(hn::ShiftRight<8>(pairs), hn::Set(d, 0x00FF00FFU)));
  return hn::Add(hn::And(sums, hn::Set(d, 0xFFFFU)), hn::ShiftRight<16>(sums));
}

// Counts of one kind: words where the CPU counts them, else bytes that are widened every kChunk
// words, before 8 bits a word overflow them.
#if HWY_TARGET == HWY_AVX3_DL
using Counts = V;
HWY_INLINE Counts no_counts() { return hn::Zero(Words()); }
HWY_INLINE Counts counted(V bits) { return hn::PopulationCount(bits); }
#else
using Counts = VBytes;
constexpr std::int64_t kChunk = 31;
HWY_INLINE Counts no_counts() { return hn::Zero(Bytes()); }
HWY_INLINE Counts counted(V bits) { return hn::PopulationCount(hn::BitCast(Bytes(), bits)); }
#endif

// sum + counts, kept where it is: GCC 12 would compute all bits of a step first and then run out of
// registers for them.
HWY_INLINE Counts added(Counts sum, Counts counts) {
  Counts more = hn::Add(sum, counts);
#if HWY_ARCH_X86 && HWY_TARGET != HWY_EMU128
  asm volatile("" : "+v"(more.raw));
#endif
  return more;
}

// Sums of P pixels x O panels. `both` counts n & m, of ternary sources alone.
template <int P, int O>
struct TileSums {
  V negative[P][O * kVectors];
  V both[P][O * kVectors];
};

// Words [begin, end) of the window.
template <BitProduct kProduct, int P, int O>
HWY_INLINE void count_words(const PopcountTiles& tiles, const std::uint32_t* const* x,
                            const std::uint32_t* weight, std::int64_t begin, std::int64_t end,
                            Counts (&negative)[P][O * kVectors], Counts (&both)[P][O * kVectors]) {
  constexpr int kPlanes = kProduct == BitProduct::kBinary ? 1 : 2;
  constexpr int kCount = O * kVectors;
  constexpr bool kTernary = kProduct == BitProduct::kTernary;
  const Words d;
  const std::int64_t panel_words = tiles.depth * kPlanes * kPanel;
  const std::int32_t* offsets = tiles.offsets;
  const std::int64_t plane = tiles.source_plane;
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < kCount; ++q) {
      negative[p][q] = no_counts();
      if (kTernary) both[p][q] = no_counts();
    }
  }
  for (std::int64_t k = begin; k < end; ++k) {
    const std::int64_t offset = offsets[k];
    const std::uint32_t* w = weight + k * kPlanes * kPanel;
    V sign[kCount];
    V mask[kCount];
#pragma GCC unroll 16
    for (int q = 0; q < kCount; ++q) {
      const std::uint32_t* from = w + q / kVectors * panel_words + q % kVectors * kLanes;
      sign[q] = hn::LoadU(d, from);
      if (kPlanes == 2) mask[q] = hn::LoadU(d, from + kPanel);
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
      const V bits = hn::Set(d, x[p][offset]);
      V present = bits;
      if (kTernary) present = hn::Set(d, x[p][plane + offset]);
#pragma GCC unroll 16
      for (int q = 0; q < kCount; ++q) {
        if (kProduct == BitProduct::kBinary) {
          negative[p][q] = added(negative[p][q], counted(hn::Xor(bits, sign[q])));
        } else if (kProduct == BitProduct::kMasked) {
          negative[p][q] = added(negative[p][q], counted(xor_and(bits, sign[q], mask[q])));
        } else {
          const V meets = hn::And(present, mask[q]);
          both[p][q] = added(both[p][q], counted(meets));
          negative[p][q] = added(negative[p][q], counted(xor_and(bits, sign[q], meets)));
        }
      }
    }
  }
}

template <BitProduct kProduct, int P, int O>
HWY_INLINE void add_words(const PopcountTiles& tiles, const std::uint32_t* const* x,
                          const std::uint32_t* weight, TileSums<P, O>& sums) {
#if HWY_TARGET == HWY_AVX3_DL
  count_words<kProduct, P, O>(tiles, x, weight, 0, tiles.depth, sums.negative, sums.both);
#else
  constexpr int kCount = O * kVectors;
  Counts negative[P][kCount];
  Counts both[P][kCount];
  for (std::int64_t begin = 0; begin < tiles.depth; begin += kChunk) {
    const std::int64_t end = std::min(tiles.depth, begin + kChunk);
    count_words<kProduct, P, O>(tiles, x, weight, begin, end, negative, both);
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
      for (int q = 0; q < kCount; ++q) {
        const V fewer = widened(negative[p][q]);
        sums.negative[p][q] = begin == 0 ? fewer : hn::Add(sums.negative[p][q], fewer);
        if (kProduct != BitProduct::kTernary) continue;
        const V meets = widened(both[p][q]);
        sums.both[p][q] = begin == 0 ? meets : hn::Add(sums.both[p][q], meets);
      }
    }
  }
#endif
}

#if HWY_TARGET == HWY_AVX3

// Harley-Seal: a tree of carry-save adders leaves one byte count for eight words, 3.6 instructions
// a word instead of 8. One adder: low = a ^ b ^ c, high = majority.
HWY_INLINE void add_bits(V& high, V& low, V b, V c) {
  const V a = low;
  low = V{_mm512_ternarylogic_epi32(a.raw, b.raw, c.raw, 0x96)};
  high = V{_mm512_ternarylogic_epi32(a.raw, b.raw, c.raw, 0xE8)};
}

template <BitProduct kProduct, int P, int O>
HWY_INLINE void add_words_by_trees(const PopcountTiles& tiles, const std::uint32_t* const* x,
                                   const std::uint32_t* weight, TileSums<P, O>& sums) {
  static_assert(kVectors == 1 && kProduct != BitProduct::kTernary);
  constexpr int kPlanes = kProduct == BitProduct::kBinary ? 1 : 2;
  constexpr std::int64_t kTree = 8;
  const Words d;
  const Bytes d_bytes;
  const std::int64_t panel_words = tiles.depth * kPlanes * kPanel;
  V ones[P][O], twos[P][O], fours[P][O];
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O; ++q) {
      sums.negative[p][q] = ones[p][q] = twos[p][q] = fours[p][q] = hn::Zero(d);
    }
  }
  const auto bits_at = [&](int p, int q, std::int64_t k) HWY_ATTR {
    const std::uint32_t* w = weight + q * panel_words + k * kPlanes * kPanel;
    const V bits = hn::Set(d, x[p][tiles.offsets[k]]);
    if (kProduct == BitProduct::kBinary) return hn::Xor(bits, hn::LoadU(d, w));
    return xor_and(bits, hn::LoadU(d, w), hn::LoadU(d, w + kPanel));
  };
  std::int64_t k = 0;
  while (k + kTree <= tiles.depth) {
    const std::int64_t end = std::min(tiles.depth, k + kTree * kChunk);
    VBytes eights[P][O];
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
      for (int q = 0; q < O; ++q) eights[p][q] = hn::Zero(d_bytes);
    }
    for (; k + kTree <= end; k += kTree) {
#pragma GCC unroll 16
      for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
        for (int q = 0; q < O; ++q) {
          V two_a, two_b, four_a, four_b, eight;
          add_bits(two_a, ones[p][q], bits_at(p, q, k), bits_at(p, q, k + 1));
          add_bits(two_b, ones[p][q], bits_at(p, q, k + 2), bits_at(p, q, k + 3));
          add_bits(four_a, twos[p][q], two_a, two_b);
          add_bits(two_a, ones[p][q], bits_at(p, q, k + 4), bits_at(p, q, k + 5));
          add_bits(two_b, ones[p][q], bits_at(p, q, k + 6), bits_at(p, q, k + 7));
          add_bits(four_b, twos[p][q], two_a, two_b);
          add_bits(eight, fours[p][q], four_a, four_b);
          eights[p][q] = hn::Add(eights[p][q], counted(eight));
        }
      }
    }
#pragma GCC unroll 16
    for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
      for (int q = 0; q < O; ++q) {
        sums.negative[p][q] = hn::Add(sums.negative[p][q], hn::ShiftLeft<3>(widened(eights[p][q])));
      }
    }
  }
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O; ++q) {
      // At most 8 * (1 + 2 + 4 + 7) a byte.
      const VBytes two = counted(twos[p][q]);
      const VBytes four = counted(fours[p][q]);
      VBytes rest = hn::Add(counted(ones[p][q]), hn::Add(two, two));
      rest = hn::Add(rest, hn::Add(hn::Add(four, four), hn::Add(four, four)));
      for (std::int64_t i = k; i < tiles.depth; ++i) {
        rest = hn::Add(rest, counted(bits_at(p, q, i)));
      }
      sums.negative[p][q] = hn::Add(sums.negative[p][q], widened(rest));
    }
  }
}

#endif

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
  if (finish.map != nullptr) t = hn::Mul(t, hn::Set(d, finish.map[pixel]));
  t = hn::Add(t, hn::LoadU(d, finish.bias + output));
  const std::int64_t at = pixel * finish.pixel_step + output;
  if (finish.residual != nullptr) t = hn::Add(t, load_outputs(finish.residual + at, count));
  if (finish.clips) {
    const auto low = hn::Set(d, finish.low);
    const auto high = hn::Set(d, finish.high);
    t = hn::IfThenElse(hn::Gt(t, low), hn::IfThenElse(hn::Lt(t, high), t, high), low);
  }
  store_outputs(d, t, count, finish.reals + at);
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
    const auto doubled = hn::BitCast(d, hn::ShiftLeft<1>(negative[v]));
    if (kTernary) return hn::Sub(hn::BitCast(d, both[v]), doubled);
    return hn::Sub(hn::LoadU(d, tiles.base + row + first + v * kLanes), doubled);
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
    } else {
      finish_reals(finish, sums_at(v), pixel, output, count);
    }
  }
}

// Where output pixels lie in the source, and the class of their borders.
struct Pixels {
  Pixels(const PopcountTiles& t, const std::uint32_t* from, std::int64_t first)
      : tiles(t),
        index(first),
        x(first % t.ow),
        y(first / t.ow % t.oh),
        image(from + first / (t.oh * t.ow) * t.image_words) {}

  const std::uint32_t* source() const {
    return image + y * tiles.row_words + x * tiles.pixel_words;
  }
  std::int64_t class_row() const {
    return (tiles.row_class[y] * tiles.column_classes + tiles.column_class[x]) * tiles.panels *
           kPanel;
  }
  void next() {
    ++index;
    if (++x < tiles.ow) return;
    x = 0;
    if (++y < tiles.oh) return;
    y = 0;
    image += tiles.image_words;
  }

  const PopcountTiles& tiles;
  std::int64_t index, x, y;
  const std::uint32_t* image;
};

template <BitProduct kProduct, int P, int O>
HWY_INLINE void run_tile(const PopcountTiles& tiles, const PopcountFinish& finish, Pixels& pixels,
                         std::int64_t panel) {
  constexpr int kPlanes = kProduct == BitProduct::kBinary ? 1 : 2;
  const std::uint32_t* x[P];
  std::int64_t index[P];
  std::int64_t row[P];
  for (int p = 0; p < P; ++p, pixels.next()) {
    x[p] = pixels.source();
    index[p] = pixels.index;
    row[p] = pixels.class_row();
  }
  const std::uint32_t* weight = tiles.weight + panel * tiles.depth * kPlanes * kPanel;
  TileSums<P, O> sums;
#if HWY_TARGET == HWY_AVX3
  if constexpr (kProduct != BitProduct::kTernary) {
    add_words_by_trees<kProduct, P, O>(tiles, x, weight, sums);
  } else {
    add_words<kProduct, P, O>(tiles, x, weight, sums);
  }
#else
  add_words<kProduct, P, O>(tiles, x, weight, sums);
#endif
#pragma GCC unroll 16
  for (int p = 0; p < P; ++p) {
#pragma GCC unroll 16
    for (int q = 0; q < O; ++q) {
      finish_panel<kProduct>(tiles, finish, sums.negative[p] + q * kVectors,
                             sums.both[p] + q * kVectors, index[p], row[p], panel + q);
    }
  }
}

// Panels [panel, panel + O) over all pixels: tiles of P, then one by one.
template <BitProduct kProduct, int P, int O>
void run_panels(const PopcountTiles& tiles, const PopcountFinish& finish,
                const std::uint32_t* source, std::int64_t first, std::int64_t last,
                std::int64_t panel) {
  Pixels pixels(tiles, source, first);
  while (pixels.index + P <= last) run_tile<kProduct, P, O>(tiles, finish, pixels, panel);
  while (pixels.index < last) run_tile<kProduct, 1, O>(tiles, finish, pixels, panel);
}

// Tiles that fill the registers and spare loads: pixels for 4, 2 and 1 panels; 0 where so many
// panels do not fit.
struct TileShape {
  int four, two, one;
};

template <BitProduct kProduct>
constexpr TileShape tile_shape() {
#if HWY_TARGET == HWY_AVX3_DL
  if (kProduct == BitProduct::kBinary) return {.four = 5, .two = 8, .one = 8};
  if (kProduct == BitProduct::kMasked) return {.four = 0, .two = 8, .one = 8};
  return {.four = 0, .two = 4, .one = 8};
#elif HWY_TARGET == HWY_AVX3
  if (kProduct == BitProduct::kTernary) return {.four = 0, .two = 2, .one = 4};
  return {.four = 0, .two = 2, .one = 4};
#else
  constexpr int kSums = kProduct == BitProduct::kTernary ? 4 : 6;  // of 16 registers
  return {.four = 0, .two = 0, .one = kSums / kVectors > 0 ? kSums / kVectors : 1};
#endif
}

template <BitProduct kProduct>
void run_product(const PopcountTiles& tiles, const PopcountFinish& finish,
                 const std::uint32_t* source, std::int64_t first, std::int64_t last) {
  constexpr TileShape kShape = tile_shape<kProduct>();
  std::int64_t panel = 0;
  if constexpr (kShape.four > 0) {
    for (; panel + 4 <= tiles.panels; panel += 4) {
      run_panels<kProduct, kShape.four, 4>(tiles, finish, source, first, last, panel);
    }
  }
  if constexpr (kShape.two > 0) {
    for (; panel + 2 <= tiles.panels; panel += 2) {
      run_panels<kProduct, kShape.two, 2>(tiles, finish, source, first, last, panel);
    }
  }
  for (; panel < tiles.panels; ++panel) {
    run_panels<kProduct, kShape.one, 1>(tiles, finish, source, first, last, panel);
  }
}

void run_range(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) {
  switch (tiles.product) {
    case BitProduct::kBinary:
      return run_product<BitProduct::kBinary>(tiles, finish, source, first, last);
    case BitProduct::kMasked:
      return run_product<BitProduct::kMasked>(tiles, finish, source, first, last);
    case BitProduct::kTernary:
      return run_product<BitProduct::kTernary>(tiles, finish, source, first, last);
  }
}

#endif

const char* target_name() {
#if HWY_TARGET == HWY_AVX3_DL
  return "avx512_vpopcntdq";
#elif HWY_TARGET == HWY_AVX3
  return "avx512bw";
#elif HWY_TARGET == HWY_AVX2
  return "avx2";
#elif HWY_TARGET == HWY_SSE4 || HWY_TARGET == HWY_SSSE3
  return "sse4";
#elif HWY_TARGET == HWY_NEON
  return "neon";
#else
  return "plain";
#endif
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {

HWY_EXPORT(run_range);
HWY_EXPORT(target_name);

void run_tiles(const PopcountTiles& tiles, const PopcountFinish& finish,
               const std::uint32_t* source, std::int64_t first, std::int64_t last) noexcept {
  apply_highway_cap();
  HWY_DYNAMIC_DISPATCH(run_range)(tiles, finish, source, first, last);
}

std::string popcount_target() {
  apply_highway_cap();
  return HWY_DYNAMIC_DISPATCH(target_name)();
}

}  // namespace bitloom::kernels
#endif
