// Vectors of f32 from and to bf16 in memory, by round_to_bf16's rounding. Included once per target.
#if defined(BITLOOM_BF16_VECTORS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_BF16_VECTORS_INL_H
#undef BITLOOM_BF16_VECTORS_INL_H
#else
#define BITLOOM_BF16_VECTORS_INL_H
#endif

#include <hwy/highway.h>

#include "bitloom/kernels/bf16_convert.h"
#include "bitloom/kernels/channel_values.h"
#include "bitloom/kernels/gradient_terms.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Upper halves of 32-bit lanes.
template <class D, class V>
HWY_INLINE void store_upper(D /*d*/, V bits, Bf16* to) {
  const hn::RebindToSigned<D> d_int;
  const hn::Rebind<std::uint16_t, D> d_half;
  const auto upper = hn::BitCast(d_int, hn::ShiftRight<16>(bits));
  hn::StoreU(hn::DemoteTo(d_half, upper), d_half, reinterpret_cast<std::uint16_t*>(to));
}

template <class D, class V>
HWY_INLINE void store_bf16(D d, V v, Bf16* to) {
  const hn::RebindToUnsigned<D> d_bits;
  const auto bits = hn::BitCast(d_bits, v);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(d_bits, 1U));
  const auto rounded = hn::Add(bits, hn::Add(hn::Set(d_bits, 0x7FFFU), odd));
  // Not Ne(v, v), which Highway 1.0 takes as ordered on x86.
  const auto is_nan = hn::RebindMask(d_bits, hn::Not(hn::Eq(v, v)));
  const auto quiet = hn::Or(bits, hn::Set(d_bits, 0x400000U));
  store_upper(d, hn::IfThenElse(is_nan, quiet, rounded), to);
}

template <class D>
HWY_INLINE hn::Vec<D> load_bf16(D d, const Bf16* from) {
  const hn::RebindToUnsigned<D> d_bits;
  const hn::Rebind<std::uint16_t, D> d_half;
  const auto half = hn::LoadU(d_half, reinterpret_cast<const std::uint16_t*>(from));
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d_bits, half)));
}

// Values of channels (channel_values.h): reals, or sums times their scales.
template <class D>
HWY_INLINE hn::Vec<D> load_values(D d, const float* from, hn::Vec<D> /*scale*/) {
  return hn::LoadU(d, from);
}
template <class D>
HWY_INLINE hn::Vec<D> load_values(D d, const Bf16* from, hn::Vec<D> scale) {
  return hn::Mul(load_bf16(d, from), scale);
}
template <class D>
HWY_INLINE hn::Vec<D> load_values(D d, const ChannelValues& from, std::int64_t i,
                                  hn::Vec<D> scale) {
  if (from.dtype == DType::kF32)
    return load_values(d, static_cast<const float*>(from.at) + i, scale);
  return load_values(d, static_cast<const Bf16*>(from.at) + i, scale);
}

// Element i on of a gradient in f32 or bf16.
template <class D>
HWY_INLINE hn::Vec<D> load_gradient(D d, const void* from, DType dtype, std::int64_t i) {
  if (dtype == DType::kF32) return hn::LoadU(d, static_cast<const float*>(from) + i);
  return load_bf16(d, static_cast<const Bf16*>(from) + i);
}

// Their sum.
template <class D>
HWY_INLINE hn::Vec<D> load_terms(D d, const OutputGradient& dy, std::int64_t i) {
  const auto first = load_gradient(d, dy.first, dy.dtype, i);
  if (dy.second == nullptr) return first;
  return hn::Add(first, load_gradient(d, dy.second, dy.dtype, i));
}

// is_bf16: rounding changes nothing.
template <class D, class V>
HWY_INLINE void store_gradient(D d, V gradient, void* to, DType dtype, bool is_bf16,
                               std::int64_t i) {
  if (dtype == DType::kF32) {
    hn::StoreU(gradient, d, static_cast<float*>(to) + i);
  } else if (is_bf16) {
    store_upper(d, hn::BitCast(hn::RebindToUnsigned<D>(), gradient), static_cast<Bf16*>(to) + i);
  } else {
    store_bf16(d, gradient, static_cast<Bf16*>(to) + i);
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
