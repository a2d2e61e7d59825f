// VNNI is worth a build of its own: Highway leaves it out unless asked for.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#include "vnni_tiles.h"

#include <cstring>

#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "vnni_tiles.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "quad_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_TARGET == HWY_AVX3_DL

constexpr int kWidth = 64;  // bytes of a vector
using Codes = hn::Vec<Bytes<kWidth>>;
using Sums = hn::Vec<Ints<kWidth>>;
using Reals = hn::Vec<Floats<kWidth>>;

constexpr int kMostRows = 8;  // pixels of a tile

// What is known of the steps behind the sums. Plain: to all of u8 without clamps; the sum: of u8.
enum class Finish { kPlain, kPlainSum, kAny };

// Where one tile's pixels begin: those of the source under each tap of the window, then others.
struct Pixels {
  const std::uint8_t* source[kVnniTaps][kMostRows];
  const std::uint8_t* residual;
  std::uint8_t* out;
};

// An output pixel and what comes after it.
struct Place {
  std::int64_t image, y, x;

  HWY_INLINE void advance(const VnniSteps& steps) {
    if (++x < steps.ow) return;
    x = 0;
    if (++y < steps.oh) return;
    y = 0;
    ++image;
  }
};

// Source pixels are those of the output, one behind another.
HWY_INLINE bool is_dense(const VnniSteps& steps) {
  return steps.kernel_h == 1 && steps.kernel_w == 1 && steps.stride == 1 && steps.pad_h == 0 &&
         steps.pad_w == 0;
}

HWY_INLINE void find_sources(const VnniSteps& steps, const std::uint8_t* source, const Place& place,
                             int row, Pixels& pixels) {
  const std::int64_t top = place.y * steps.stride - steps.pad_h;
  const std::int64_t left = place.x * steps.stride - steps.pad_w;
  int tap = 0;
  for (std::int64_t y = top; y < top + steps.kernel_h; ++y) {
    const bool within = y >= 0 && y < steps.h;
    const std::int64_t line = (place.image * steps.h + y) * steps.w;
    for (std::int64_t x = left; x < left + steps.kernel_w; ++x, ++tap) {
      pixels.source[tap][row] =
          within && x >= 0 && x < steps.w ? source + (line + x) * steps.depth : steps.padding;
    }
  }
}

// Codes of four channels of a pixel, in all lanes.
HWY_INLINE Codes broadcast_quad(const std::uint8_t* codes) {
  std::int32_t quad;
  std::memcpy(&quad, codes, sizeof(quad));
  return hn::BitCast(Bytes<kWidth>(), hn::Set(Ints<kWidth>(), quad));
}

// GCC keeps an array of vectors in registers only where its loops are unrolled early.
template <int kRows, int kVectors>
HWY_INLINE void sum(const VnniSteps& steps, const VnniBlock& block, const Pixels& pixels,
                    Sums (&acc)[kRows][kVectors]) {
#pragma GCC unroll 16
  for (int v = 0; v < kVectors; ++v) {
    const Sums base = hn::Load(Ints<kWidth>(), block.base + kVnniLanes * v);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) acc[r][v] = base;
  }
  const std::int8_t* weight = block.weight;
  const std::int64_t taps = steps.kernel_h * steps.kernel_w;
  for (std::int64_t tap = 0; tap < taps; ++tap) {
    const std::uint8_t* at[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) at[r] = pixels.source[tap][r];
    for (std::int64_t k = 0; k < steps.depth; k += 4, weight += kVectors * kWidth) {
      hn::Vec<hn::Simd<std::int8_t, kWidth, 0>> weights[kVectors];
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) weights[v] = product_weight<kWidth>(weight + v * kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Codes quad = broadcast_quad(at[r] + k);
#pragma GCC unroll 16
        for (int v = 0; v < kVectors; ++v) acc[r][v] = add_quads(acc[r][v], quad, weights[v]);
      }
    }
  }
}

// For each vector of a whole block: byte 4 * vector + j of each 16 goes to lane j, as its lowest
// byte, the others 0.
struct Spread {
  alignas(kWidth) std::uint8_t control[4][kWidth];
};
constexpr Spread spread_bytes() {
  Spread spread{};
  for (int v = 0; v < 4; ++v) {
    for (int i = 0; i < kWidth; ++i) {
      spread.control[v][i] = static_cast<std::uint8_t>(i % 4 == 0 ? 4 * v + i % 16 / 4 : 0x80);
    }
  }
  return spread;
}
constexpr Spread kSpread = spread_bytes();

// Residual codes of one vector's channels as s32; for a part of a block, of those in `lanes`.
template <bool kUnsigned>
HWY_INLINE Sums whole_codes(const VnniSteps& steps, Codes codes, int vector) {
  const Codes control = hn::Load(Bytes<kWidth>(), kSpread.control[vector]);
  const Sums wide{_mm512_shuffle_epi8(codes.raw, control.raw)};
  if (kUnsigned || !steps.signed_residual) return wide;
  return hn::ShiftRight<24>(hn::ShiftLeft<24>(wide));
}
HWY_INLINE Sums part_codes(const VnniSteps& steps, const std::uint8_t* codes, __mmask16 lanes) {
  const __m128i narrow = _mm_maskz_loadu_epi8(lanes, codes);
  return Sums{steps.signed_residual ? _mm512_cvtepi8_epi32(narrow) : _mm512_cvtepu8_epi32(narrow)};
}

// t without a residual: two roundings.
HWY_INLINE Reals scaled(const VnniBlock& block, Sums acc, int vector) {
  const Floats<kWidth> d;
  const std::size_t at = static_cast<std::size_t>(kVnniLanes * vector);
  return hn::Add(hn::Mul(hn::ConvertTo(d, acc), hn::Load(d, block.multiplier + at)),
                 hn::Load(d, block.bias + at));
}

// t with it: a third, of the sum.
HWY_INLINE Reals with_residual(const VnniSteps& steps, Sums codes, Reals t) {
  const Floats<kWidth> d;
  const Sums shifted = hn::Sub(codes, hn::Set(Ints<kWidth>(), steps.residual_zero_point));
  return hn::MulAdd(hn::ConvertTo(d, shifted), hn::Set(d, steps.residual_ratio), t);
}

HWY_INLINE Sums rounded(const VnniSteps& steps, Reals t) {
  const Floats<kWidth> d;
  if (steps.clamps_reals) {
    t = hn::Min(hn::Max(t, hn::Set(d, static_cast<float>(steps.qmin))),
                hn::Set(d, static_cast<float>(steps.qmax)));
  }
  return nearest(t);
}

// A whole block's codes of one pixel.
template <Finish kFinish>
HWY_INLINE void finish_whole(const VnniSteps& steps, const VnniBlock& block, const Sums (&acc)[4],
                             const std::uint8_t* residual, std::uint8_t* out) {
  constexpr bool kPlain = kFinish != Finish::kAny;
  const Bytes<kWidth> du;
  Reals t[4];
#pragma GCC unroll 16
  for (int v = 0; v < 4; ++v) t[v] = scaled(block, acc[v], v);
  if (kFinish == Finish::kPlainSum || (kFinish == Finish::kAny && steps.residual)) {
    const Codes codes = hn::LoadU(du, residual);
#pragma GCC unroll 16
    for (int v = 0; v < 4; ++v) {
      t[v] = with_residual(steps, whole_codes<kPlain>(steps, codes, v), t[v]);
    }
  }
  Sums code[4];
#pragma GCC unroll 16
  for (int v = 0; v < 4; ++v) code[v] = kPlain ? nearest(t[v]) : rounded(steps, t[v]);
  const auto low = narrow(code[0], code[1]);
  const auto high = narrow(code[2], code[3]);
  if (kPlain) {
    hn::StoreU(narrow_u8(low, high), du, out);
  } else {
    store_clamped<kWidth>(low, high, steps.signed_output, steps.qmin, steps.qmax, out);
  }
}

// One vector's codes of one pixel of a smaller block.
HWY_INLINE void finish_part(const VnniSteps& steps, const VnniBlock& block, Sums acc, int vector,
                            const std::uint8_t* residual, std::uint8_t* out) {
  const Ints<kWidth> d;
  const int left = block.channels - kVnniLanes * vector;
  const auto lanes = static_cast<__mmask16>(left < kVnniLanes ? (1 << left) - 1 : 0xFFFF);
  Reals t = scaled(block, acc, vector);
  if (steps.residual) {
    t = with_residual(steps, part_codes(steps, residual + kVnniLanes * vector, lanes), t);
  }
  const Sums code = rounded(steps, t);
  const Sums held = hn::Min(hn::Max(code, hn::Set(d, steps.qmin)), hn::Set(d, steps.qmax));
  _mm_mask_storeu_epi8(out + kVnniLanes * vector, lanes, _mm512_cvtepi32_epi8(held.raw));
}

template <int kRows, int kVectors, bool kWhole, Finish kFinish>
HWY_INLINE void tile(const VnniSteps& steps, const VnniBlock& block, const Pixels& pixels) {
  Sums acc[kRows][kVectors];
  sum(steps, block, pixels, acc);
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    const bool adds = kFinish == Finish::kPlainSum || (kFinish == Finish::kAny && steps.residual);
    const std::uint8_t* residual = adds ? pixels.residual + r * steps.channels : nullptr;
    std::uint8_t* out = pixels.out + r * steps.pitch;
    if constexpr (kWhole) {
      finish_whole<kFinish>(steps, block, acc[r], residual, out);
    } else {
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) {
        finish_part(steps, block, acc[r][v], v, residual, out);
      }
    }
  }
}

// All pixels in tiles of as many as the registers hold, the last ones in smaller tiles.
template <int kVectors, bool kWhole, Finish kFinish>
HWY_INLINE void run_block(const VnniSteps& steps, const VnniBlock& block,
                          const std::uint8_t* source, const std::uint8_t* residual,
                          std::int64_t first, std::int64_t last, std::uint8_t* out) {
  constexpr int kMost = kVectors == 4 ? 6 : kMostRows;
  const bool dense = is_dense(steps);
  Place place{.image = first / (steps.oh * steps.ow),
              .y = first / steps.ow % steps.oh,
              .x = first % steps.ow};
  Pixels pixels;
  for (std::int64_t at = first; at < last;) {
    const std::int64_t left = last - at;
    const int rows = left >= kMost ? kMost : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    if (dense) {
      const std::uint8_t* pixel = source + at * steps.depth;
      for (int r = 0; r < rows; ++r, pixel += steps.depth) pixels.source[0][r] = pixel;
    } else {
      for (int r = 0; r < rows; ++r, place.advance(steps)) {
        find_sources(steps, source, place, r, pixels);
      }
    }
    pixels.residual = steps.residual ? residual + at * steps.channels : nullptr;
    pixels.out = out + at * steps.pitch;
    switch (rows) {
      case kMost:
        tile<kMost, kVectors, kWhole, kFinish>(steps, block, pixels);
        break;
      case 4:
        tile<4, kVectors, kWhole, kFinish>(steps, block, pixels);
        break;
      case 2:
        tile<2, kVectors, kWhole, kFinish>(steps, block, pixels);
        break;
      default:
        tile<1, kVectors, kWhole, kFinish>(steps, block, pixels);
    }
    at += rows;
  }
}

void run_pixels(const VnniSteps& shared_steps, const VnniBlock& shared_block,
                const std::uint8_t* source, const std::uint8_t* residual, std::int64_t first,
                std::int64_t last, std::uint8_t* out) {
  const VnniSteps steps = shared_steps;  // own copies: no store to `out` changes them
  const VnniBlock block = shared_block;
  const std::uint8_t* added = steps.residual ? residual + block.first : nullptr;
  std::uint8_t* to = out + block.first;
  if (block.channels == kVnniChannels) {
    if (!steps.plain) {
      return run_block<4, true, Finish::kAny>(steps, block, source, added, first, last, to);
    }
    return steps.residual
               ? run_block<4, true, Finish::kPlainSum>(steps, block, source, added, first, last, to)
               : run_block<4, true, Finish::kPlain>(steps, block, source, added, first, last, to);
  }
  switch (block.vectors()) {
    case 4:
      return run_block<4, false, Finish::kAny>(steps, block, source, added, first, last, to);
    case 3:
      return run_block<3, false, Finish::kAny>(steps, block, source, added, first, last, to);
    case 2:
      return run_block<2, false, Finish::kAny>(steps, block, source, added, first, last, to);
    default:
      return run_block<1, false, Finish::kAny>(steps, block, source, added, first, last, to);
  }
}

bool has_tiles() { return true; }

#else  // no kernel

void run_pixels(const VnniSteps&, const VnniBlock&, const std::uint8_t*, const std::uint8_t*,
                std::int64_t, std::int64_t, std::uint8_t*) {}
bool has_tiles() { return false; }

#endif

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(run_pixels);
HWY_EXPORT(has_tiles);
}  // namespace

bool has_vnni_tiles() {
  apply_highway_cap();
  return HWY_DYNAMIC_DISPATCH(has_tiles)();
}

void vnni_pixels(const VnniSteps& steps, const VnniBlock& block, const std::uint8_t* source,
                 const std::uint8_t* residual, std::int64_t first, std::int64_t last,
                 std::uint8_t* out) noexcept {
  HWY_DYNAMIC_DISPATCH(run_pixels)(steps, block, source, residual, first, last, out);
}

}  // namespace bitloom::kernels
#endif
