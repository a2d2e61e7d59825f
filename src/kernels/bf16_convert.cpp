#include "bitloom/kernels/bf16_convert.h"

#include <algorithm>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "bf16_convert.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Ints = hn::RebindToSigned<Floats>;
using Words = hn::RebindToUnsigned<Floats>;

// One row, or the whole tensor where there is no factor.
void round_piece(const float* x, std::int64_t count, const float* factor, Bf16* y) {
  const Floats d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    auto v = hn::LoadU(d, x + i);
    if (factor != nullptr) v = hn::Mul(v, hn::LoadU(d, factor + i));
    store_bf16(d, v, y + i);
  }
  for (; i < count; ++i) y[i] = round_to_bf16(factor != nullptr ? x[i] * factor[i] : x[i]);
}

template <typename Code>
HWY_INLINE void code_loop(const Code* codes, std::int64_t count, std::int32_t zero_point, Bf16* y) {
  const Floats d;
  const Ints d_int;
  const hn::Rebind<Code, Floats> d_code;
  const auto zero = hn::Set(d_int, zero_point);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto code = hn::PromoteTo(d_int, hn::LoadU(d_code, codes + i));
    store_upper(d, hn::BitCast(Words(), hn::ConvertTo(d, hn::Sub(code, zero))), y + i);
  }
  for (; i < count; ++i) y[i] = round_to_bf16(static_cast<float>(codes[i] - zero_point));
}

void code_piece(const void* codes, std::int64_t count, bool is_signed, std::int32_t zero_point,
                Bf16* y) {
  if (is_signed) {
    code_loop(static_cast<const std::int8_t*>(codes), count, zero_point, y);
  } else {
    code_loop(static_cast<const std::uint8_t*>(codes), count, zero_point, y);
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(round_piece);
HWY_EXPORT(code_piece);

// Elements below which one thread does all.
constexpr std::int64_t kGrain = 16384;

}  // namespace

void to_bf16(const float* x, std::int64_t rows, std::int64_t cols, const float* factor,
             Bf16* y) noexcept {
  apply_highway_cap();
  if (factor == nullptr) {
    parallel_for(rows * cols, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(round_piece)(x + begin, end - begin, nullptr, y + begin);
    });
    return;
  }
  const std::int64_t grain = std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, cols));
  parallel_for(rows, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      HWY_DYNAMIC_DISPATCH(round_piece)(x + row * cols, cols, factor, y + row * cols);
    }
  });
}

void codes_to_bf16(const void* codes, std::int64_t count, const integer::AffineFormat& format,
                   Bf16* y) noexcept {
  apply_highway_cap();
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(code_piece)
    (static_cast<const std::uint8_t*>(codes) + begin, end - begin, format.is_signed,
     format.zero_point, y + begin);
  });
}

namespace reference {

void to_bf16(const float* x, std::int64_t rows, std::int64_t cols, const float* factor,
             Bf16* y) noexcept {
  for (std::int64_t i = 0; i < rows * cols; ++i) {
    y[i] = round_to_bf16(factor != nullptr ? x[i] * factor[i % cols] : x[i]);
  }
}

void codes_to_bf16(const void* codes, std::int64_t count, const integer::AffineFormat& format,
                   Bf16* y) noexcept {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int32_t code = format.is_signed ? static_cast<const std::int8_t*>(codes)[i]
                                               : static_cast<const std::uint8_t*>(codes)[i];
    y[i] = round_to_bf16(static_cast<float>(code - format.zero_point));
  }
}

}  // namespace reference

}  // namespace bitloom::kernels
#endif
