// VNNI is worth a build of its own: Highway leaves it out unless asked for.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#include "depthwise_rows.h"

#include <algorithm>

#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "depthwise_rows.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

constexpr int kTaps = kDepthwiseTaps;
constexpr int kAccumulators = kDepthwiseAccumulators;
constexpr int kQuad = 4;  // rows of the source in one operand
constexpr bool kPairs = HWY_TARGET != HWY_AVX3_DL;

template <int kBytes>
using Bytes = hn::Simd<std::uint8_t, kBytes, 0>;
template <int kBytes>
using Halves = hn::Simd<std::int16_t, kBytes / 2, 0>;
template <int kBytes>
using Ints = hn::Simd<std::int32_t, kBytes / 4, 0>;
template <int kBytes>
using Floats = hn::Simd<float, kBytes / 4, 0>;

// Pairs of s16 products, and what Highway 1.0 has only with fixes for values that do not occur.
HWY_INLINE hn::Vec128<std::int32_t> pair_sums(hn::Vec128<std::int16_t> a,
                                              hn::Vec128<std::int16_t> b) {
  return hn::Vec128<std::int32_t>{_mm_madd_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec128<std::int32_t> nearest(hn::Vec128<float> t) {
  return hn::Vec128<std::int32_t>{_mm_cvtps_epi32(t.raw)};
}
HWY_INLINE hn::Vec128<std::int16_t> narrow(hn::Vec128<std::int32_t> a, hn::Vec128<std::int32_t> b) {
  return hn::Vec128<std::int16_t>{_mm_packs_epi32(a.raw, b.raw)};
}
HWY_INLINE hn::Vec128<std::uint8_t> narrow_s8(hn::Vec128<std::int16_t> a,
                                              hn::Vec128<std::int16_t> b) {
  return hn::Vec128<std::uint8_t>{_mm_packs_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec128<std::uint8_t> narrow_u8(hn::Vec128<std::int16_t> a,
                                              hn::Vec128<std::int16_t> b) {
  return hn::Vec128<std::uint8_t>{_mm_packus_epi16(a.raw, b.raw)};
}
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE hn::Vec256<std::int32_t> pair_sums(hn::Vec256<std::int16_t> a,
                                              hn::Vec256<std::int16_t> b) {
  return hn::Vec256<std::int32_t>{_mm256_madd_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec256<std::int32_t> nearest(hn::Vec256<float> t) {
  return hn::Vec256<std::int32_t>{_mm256_cvtps_epi32(t.raw)};
}
HWY_INLINE hn::Vec256<std::int16_t> narrow(hn::Vec256<std::int32_t> a, hn::Vec256<std::int32_t> b) {
  return hn::Vec256<std::int16_t>{_mm256_packs_epi32(a.raw, b.raw)};
}
HWY_INLINE hn::Vec256<std::uint8_t> narrow_s8(hn::Vec256<std::int16_t> a,
                                              hn::Vec256<std::int16_t> b) {
  return hn::Vec256<std::uint8_t>{_mm256_packs_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec256<std::uint8_t> narrow_u8(hn::Vec256<std::int16_t> a,
                                              hn::Vec256<std::int16_t> b) {
  return hn::Vec256<std::uint8_t>{_mm256_packus_epi16(a.raw, b.raw)};
}
#endif
#if HWY_TARGET <= HWY_AVX3
HWY_INLINE hn::Vec512<std::int32_t> pair_sums(hn::Vec512<std::int16_t> a,
                                              hn::Vec512<std::int16_t> b) {
  return hn::Vec512<std::int32_t>{_mm512_madd_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec512<std::int32_t> nearest(hn::Vec512<float> t) {
  return hn::Vec512<std::int32_t>{_mm512_cvtps_epi32(t.raw)};
}
HWY_INLINE hn::Vec512<std::int16_t> narrow(hn::Vec512<std::int32_t> a, hn::Vec512<std::int32_t> b) {
  return hn::Vec512<std::int16_t>{_mm512_packs_epi32(a.raw, b.raw)};
}
HWY_INLINE hn::Vec512<std::uint8_t> narrow_s8(hn::Vec512<std::int16_t> a,
                                              hn::Vec512<std::int16_t> b) {
  return hn::Vec512<std::uint8_t>{_mm512_packs_epi16(a.raw, b.raw)};
}
HWY_INLINE hn::Vec512<std::uint8_t> narrow_u8(hn::Vec512<std::int16_t> a,
                                              hn::Vec512<std::int16_t> b) {
  return hn::Vec512<std::uint8_t>{_mm512_packus_epi16(a.raw, b.raw)};
}
#endif

#if HWY_TARGET == HWY_AVX3_DL
// Every CPU of this target has AVX512-VNNI, but Highway 1.0 does not tell the compiler.
template <class V32, class V8>
HWY_INLINE V32 add_quads(V32 acc, V8 codes, const std::int8_t* weight) {
  const hn::Simd<std::int8_t, sizeof(codes.raw), 0> d;
  const auto w = hn::Load(d, weight);
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.raw) : "v"(codes.raw), "v"(w.raw));
  return acc;
}
#else
template <class V32, class V8>
HWY_INLINE V32 add_quads(V32 acc, V8 codes, const std::int8_t* weight) {
  const Halves<static_cast<int>(sizeof(codes.raw))> d;
  const auto* pairs = reinterpret_cast<const std::int16_t*>(weight);
  const auto both = hn::BitCast(hn::RebindToUnsigned<decltype(d)>(), codes);
  const auto even = hn::BitCast(d, hn::And(both, hn::Set(hn::DFromV<decltype(both)>(), 0x00FF)));
  const auto odd = hn::BitCast(d, hn::ShiftRight<8>(both));
  acc = hn::Add(acc, pair_sums(even, hn::Load(d, pairs)));
  return hn::Add(acc, pair_sums(odd, hn::Load(d, pairs + hn::MaxLanes(d))));
}
#endif

// Where the rows of the source that one pass reads begin, and how far apart their pixels lie: 0
// where a row lies outside and all its pixels are the pad pixel.
struct SourceRows {
  const std::uint8_t* at[kQuad];
  std::int64_t step[kQuad];
};

// One column of pixels: quads of rows, in the lanes of the accumulators.
template <int kBytes>
struct Column {
  hn::Vec<Bytes<kBytes>> quads[kAccumulators];
};

template <int kBytes, int kRows>
HWY_INLINE Column<kBytes> load_column(const DepthwiseRows& rows, const SourceRows& source,
                                      std::int64_t x) {
  const Bytes<kBytes> d;
  const hn::Repartition<std::uint16_t, decltype(d)> d16;
  Column<kBytes> column;
  if (x < 0 || x >= rows.w) {
    for (auto& quads : column.quads) quads = hn::Set(d, rows.pad);
    return column;
  }
  const auto flip = hn::Set(d, rows.flip);
  hn::Vec<Bytes<kBytes>> row[kQuad];
  for (int r = 0; r < kRows; ++r) {
    row[r] = hn::Xor(hn::LoadU(d, source.at[r] + x * source.step[r]), flip);
  }
  if (kRows < kQuad) row[kQuad - 1] = row[kRows - 1];  // times weights of 0
  const auto low01 = hn::BitCast(d16, hn::InterleaveLower(d, row[0], row[1]));
  const auto high01 = hn::BitCast(d16, hn::InterleaveUpper(d, row[0], row[1]));
  const auto low23 = hn::BitCast(d16, hn::InterleaveLower(d, row[2], row[3]));
  const auto high23 = hn::BitCast(d16, hn::InterleaveUpper(d, row[2], row[3]));
  column.quads[0] = hn::BitCast(d, hn::InterleaveLower(d16, low01, low23));
  column.quads[1] = hn::BitCast(d, hn::InterleaveUpper(d16, low01, low23));
  column.quads[2] = hn::BitCast(d, hn::InterleaveLower(d16, high01, high23));
  column.quads[3] = hn::BitCast(d, hn::InterleaveUpper(d16, high01, high23));
  return column;
}

// Sums of one pixel to codes; the accumulators' lanes pack back into the channels' order.
template <int kBytes>
HWY_INLINE void finish(const DepthwiseRows& rows, const DepthwiseBlock& block,
                       const hn::Vec<Ints<kBytes>>* acc, std::uint8_t* to) {
  const Floats<kBytes> d;
  hn::Vec<Ints<kBytes>> code[kAccumulators];
  for (int a = 0; a < kAccumulators; ++a) {
    const std::size_t lane = static_cast<std::size_t>(a) * hn::MaxLanes(d);
    auto t = hn::Mul(hn::ConvertTo(d, acc[a]), hn::Load(d, block.multiplier + lane));
    t = hn::Add(t, hn::Load(d, block.bias + lane));
    if (rows.clamps_reals) {
      t = hn::Min(hn::Max(t, hn::Set(d, static_cast<float>(rows.qmin))),
                  hn::Set(d, static_cast<float>(rows.qmax)));
    }
    code[a] = nearest(t);
  }
  const auto low = narrow(code[0], code[1]);
  const auto high = narrow(code[2], code[3]);
  const Bytes<kBytes> du;
  if (rows.signed_output) {
    const hn::RebindToSigned<decltype(du)> ds;
    const auto codes = hn::BitCast(ds, narrow_s8(low, high));
    hn::StoreU(hn::Min(hn::Max(codes, hn::Set(ds, static_cast<std::int8_t>(rows.qmin))),
                       hn::Set(ds, static_cast<std::int8_t>(rows.qmax))),
               ds, reinterpret_cast<std::int8_t*>(to));
  } else {
    hn::StoreU(
        hn::Min(hn::Max(narrow_u8(low, high), hn::Set(du, static_cast<std::uint8_t>(rows.qmin))),
                hn::Set(du, static_cast<std::uint8_t>(rows.qmax))),
        du, to);
  }
}

template <int kBytes, int kStride>
HWY_INLINE void pass(const DepthwiseRows& rows, const DepthwiseBlock& block,
                     const SourceRows& source, bool both_rows, std::uint8_t* out) {
  constexpr int kRows = depthwise_pass_rows(kStride);
  constexpr int kSourceRows = kTaps + kRows - 1;
  constexpr int kOperand = kBytes * (kPairs ? 2 : 1);  // bytes of one accumulator's weights
  const Ints<kBytes> d;
  Column<kBytes> columns[kTaps];
  std::int64_t next = -rows.pad_w;  // the column that comes in next
  for (int k = 0; k < kTaps - kStride; ++k) {
    columns[k + kStride] = load_column<kBytes, kSourceRows>(rows, source, next++);
  }
  for (std::int64_t x = 0; x < rows.ow; ++x) {
    for (int k = 0; k < kTaps - kStride; ++k) columns[k] = columns[k + kStride];
    for (int k = kTaps - kStride; k < kTaps; ++k) {
      columns[k] = load_column<kBytes, kSourceRows>(rows, source, next++);
    }
    const std::int8_t* weight = block.weight;
    for (int r = 0; r < kRows; ++r) {
      hn::Vec<Ints<kBytes>> acc[kAccumulators];
      for (int a = 0; a < kAccumulators; ++a) {
        acc[a] = hn::Load(d, block.base + static_cast<std::size_t>(a) * hn::MaxLanes(d));
      }
      for (const Column<kBytes>& column : columns) {
        for (int a = 0; a < kAccumulators; ++a) {
          acc[a] = add_quads(acc[a], column.quads[a], weight);
          weight += kOperand;
        }
      }
      if (r == 0 || both_rows) {
        finish<kBytes>(rows, block, acc, out + (r * rows.ow + x) * rows.c);
      }
    }
  }
}

template <int kBytes>
HWY_INLINE void pass_of_width(const DepthwiseRows& rows, const DepthwiseBlock& block,
                              const SourceRows& source, bool both_rows, std::uint8_t* out) {
  if (rows.stride == 1) {
    pass<kBytes, 1>(rows, block, source, both_rows, out);
  } else {
    pass<kBytes, 2>(rows, block, source, both_rows, out);
  }
}

void run_pass(const DepthwiseRows& rows, const DepthwiseBlock& block, const std::uint8_t* source,
              std::int64_t row, std::uint8_t* out) {
  SourceRows from;
  for (std::int64_t r = 0; r < kQuad; ++r) {
    const std::int64_t y = row * rows.stride - rows.pad_h + r;
    const bool inside = y >= 0 && y < rows.h;
    from.at[r] = (inside ? source + y * rows.w * rows.c : rows.pad_pixel) + block.first;
    from.step[r] = inside ? rows.c : 0;
  }
  const bool both_rows = row + 1 < rows.oh;
  std::uint8_t* to = out + row * rows.ow * rows.c + block.first;
  switch (block.channels) {
#if HWY_TARGET <= HWY_AVX3
    case 64:
      return pass_of_width<64>(rows, block, from, both_rows, to);
#endif
#if HWY_TARGET <= HWY_AVX2
    case 32:
      return pass_of_width<32>(rows, block, from, both_rows, to);
#endif
    default:
      return pass_of_width<16>(rows, block, from, both_rows, to);
  }
}

DepthwiseLayout layout() {
  return {.bytes = HWY_MAX_BYTES, .pairs = kPairs, .target = hwy::TargetName(HWY_TARGET)};
}

#else  // no kernel

void run_pass(const DepthwiseRows&, const DepthwiseBlock&, const std::uint8_t*, std::int64_t,
              std::uint8_t*) {}
DepthwiseLayout layout() { return {}; }

#endif

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(run_pass);
HWY_EXPORT(layout);
}  // namespace

DepthwiseLayout depthwise_layout() {
  apply_highway_cap();
  return HWY_DYNAMIC_DISPATCH(layout)();
}

void depthwise_pass(const DepthwiseRows& rows, const DepthwiseBlock& block,
                    const std::uint8_t* source, std::int64_t row, std::uint8_t* out) noexcept {
  HWY_DYNAMIC_DISPATCH(run_pass)(rows, block, source, row, out);
}

}  // namespace bitloom::kernels
#endif
