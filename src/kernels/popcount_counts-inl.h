// Bits that differ between pixels and weights, counted over the words of a window: a tile of pixels
// x panels stays in registers. Included once per target. Goes to: popcount_tiles.cpp.
#if defined(BITLOOM_POPCOUNT_COUNTS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_POPCOUNT_COUNTS_INL_H
#undef BITLOOM_POPCOUNT_COUNTS_INL_H
#else
#define BITLOOM_POPCOUNT_COUNTS_INL_H
#endif

#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

#include "popcount_tiles.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
#if !HWY_HAVE_SCALABLE && HWY_TARGET != HWY_SCALAR
namespace hn = hwy::HWY_NAMESPACE;

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

#endif
}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
