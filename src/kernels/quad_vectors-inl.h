// Vectors of 16, 32 and 64 bytes: sums of quads of codes, and what Highway 1.0 has only with fixes
// for values that do not occur here. Included once per target. Goes to: depthwise_rows.cpp,
// vnni_tiles.cpp.
#if defined(BITLOOM_QUAD_VECTORS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_QUAD_VECTORS_INL_H
#undef BITLOOM_QUAD_VECTORS_INL_H
#else
#define BITLOOM_QUAD_VECTORS_INL_H
#endif

#include <hwy/highway.h>

#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128
namespace hn = hwy::HWY_NAMESPACE;

constexpr bool kPairs = HWY_TARGET != HWY_AVX3_DL;  // weights as s16 pairs, not s8 quads

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
// Blocks of four lanes, 16 floats apart.
HWY_INLINE void store_blocks(hn::Vec128<float> t, float* to) { _mm_storeu_ps(to, t.raw); }
#if HWY_TARGET <= HWY_AVX2
HWY_INLINE void store_blocks(hn::Vec256<float> t, float* to) {
  _mm_storeu_ps(to, _mm256_castps256_ps128(t.raw));
  _mm_storeu_ps(to + 16, _mm256_extractf128_ps(t.raw, 1));
}
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
HWY_INLINE void store_blocks(hn::Vec512<float> t, float* to) {
  _mm_storeu_ps(to, _mm512_castps512_ps128(t.raw));
  _mm_storeu_ps(to + 16, _mm512_extractf32x4_ps(t.raw, 1));
  _mm_storeu_ps(to + 32, _mm512_extractf32x4_ps(t.raw, 2));
  _mm_storeu_ps(to + 48, _mm512_extractf32x4_ps(t.raw, 3));
}
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

// Two vectors of s16 as s8 or u8 codes within qmin .. qmax.
template <int kBytes>
HWY_INLINE void store_clamped(hn::Vec<Halves<kBytes>> low, hn::Vec<Halves<kBytes>> high,
                              bool is_signed, std::int32_t qmin, std::int32_t qmax,
                              std::uint8_t* to) {
  const Bytes<kBytes> du;
  if (is_signed) {
    const hn::RebindToSigned<decltype(du)> ds;
    const auto codes = hn::BitCast(ds, narrow_s8(low, high));
    hn::StoreU(hn::Min(hn::Max(codes, hn::Set(ds, static_cast<std::int8_t>(qmin))),
                       hn::Set(ds, static_cast<std::int8_t>(qmax))),
               ds, reinterpret_cast<std::int8_t*>(to));
  } else {
    hn::StoreU(hn::Min(hn::Max(narrow_u8(low, high), hn::Set(du, static_cast<std::uint8_t>(qmin))),
                       hn::Set(du, static_cast<std::uint8_t>(qmax))),
               du, to);
  }
}

#if HWY_TARGET == HWY_AVX3_DL
template <class V8>
HWY_INLINE V8 product_operand(V8 codes) {
  return codes;
}
template <int kBytes>
HWY_INLINE auto product_weight(const std::int8_t* quads) {
  return hn::Load(hn::Simd<std::int8_t, kBytes, 0>(), quads);
}
// Every CPU of this target has AVX512-VNNI, but Highway 1.0 does not tell the compiler.
template <class V32, class V8, class W8>
HWY_INLINE V32 add_quads(V32 acc, V8 codes, W8 weight) {
  asm("vpdpbusd %2, %1, %0" : "+v"(acc.raw) : "v"(codes.raw), "v"(weight.raw));
  return acc;
}
#else
// Even and odd rows of quads, as s16.
template <class V16>
struct RowPairs {
  V16 even, odd;
};
template <class V8>
HWY_INLINE auto product_operand(V8 codes) {
  const Halves<static_cast<int>(sizeof(codes.raw))> d;
  const auto both = hn::BitCast(hn::RebindToUnsigned<decltype(d)>(), codes);
  const auto low = hn::Set(hn::DFromV<decltype(both)>(), 0x00FF);
  return RowPairs<hn::Vec<decltype(d)>>{.even = hn::BitCast(d, hn::And(both, low)),
                                        .odd = hn::BitCast(d, hn::ShiftRight<8>(both))};
}
template <int kBytes>
HWY_INLINE auto product_weight(const std::int8_t* quads) {
  const Halves<kBytes> d;
  const auto* pairs = reinterpret_cast<const std::int16_t*>(quads);
  return RowPairs<hn::Vec<decltype(d)>>{.even = hn::Load(d, pairs),
                                        .odd = hn::Load(d, pairs + hn::MaxLanes(d))};
}
template <class V32, class V16>
HWY_INLINE V32 add_quads(V32 acc, const RowPairs<V16>& codes, const RowPairs<V16>& weight) {
  acc = hn::Add(acc, pair_sums(codes.even, weight.even));
  return hn::Add(acc, pair_sums(codes.odd, weight.odd));
}
#endif

#endif
}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
