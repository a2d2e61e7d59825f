#include "bitloom/kernels/sign_bits.h"

#include <algorithm>
#include <cstring>

#include "bitloom/core/parallel.h"
#include "bitloom/integer/affine.h"
#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "sign_bits.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Bits of a mask, lane 0 lowest. At most 32 lanes.
template <class D, class M>
HWY_INLINE std::uint32_t bits_of(D d, M mask) {
  std::uint8_t bytes[8] = {};  // StoreMaskBits asks for eight
  hn::StoreMaskBits(d, mask, bytes);
  std::uint32_t word;
  std::memcpy(&word, bytes, sizeof(word));
  const std::size_t lanes = hn::Lanes(d);
  return lanes >= 32 ? word : word & ((1U << lanes) - 1U);
}

// Bits of channels [0, count) of one word's worth of reals.
HWY_INLINE std::uint32_t sign_word(const float* x, std::int64_t count, const float* multiplier,
                                   const float* bias) {
  const hn::CappedTag<float, 16> d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::uint32_t word = 0;
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    auto t = hn::LoadU(d, x + i);
    if (multiplier != nullptr) {
      t = hn::Add(hn::Mul(t, hn::LoadU(d, multiplier + i)), hn::LoadU(d, bias + i));
    }
    word |= bits_of(d, hn::Not(hn::Ge(t, hn::Zero(d)))) << i;
  }
  for (; i < count; ++i) {
    float t = x[i];
    if (multiplier != nullptr) {
      t = t * multiplier[i];
      t = t + bias[i];
    }
    word |= (integer::sign_code(t) < 0 ? 1U : 0U) << i;
  }
  return word;
}

void pack_signs_rows(const float* x, const BitRows& rows, const float* multiplier,
                     const float* bias, std::uint32_t* bits) {
  const std::int64_t words = sign_words(rows.channels);
  for (std::int64_t pixel = 0; pixel < rows.pixels; ++pixel) {
    for (std::int64_t word = 0; word < words; ++word) {
      const std::int64_t c = word * kSignsPerWord;
      const std::int64_t count = std::min(kSignsPerWord, rows.channels - c);
      bits[pixel * words + word] = sign_word(x + pixel * rows.channels + c, count,
                                             multiplier == nullptr ? nullptr : multiplier + c,
                                             bias == nullptr ? nullptr : bias + c);
    }
  }
}

// Both planes of as many codes from i on as the tag's vectors take.
template <class D>
HWY_INLINE std::int64_t code_vectors(D d, const std::int8_t* codes, std::int64_t i,
                                     std::int64_t count, std::uint32_t& sign,
                                     std::uint32_t& nonzero) {
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + step <= count; i += step) {
    const auto v = hn::LoadU(d, codes + i);
    sign |= bits_of(d, hn::Lt(v, hn::Zero(d))) << i;
    nonzero |= bits_of(d, hn::Not(hn::Eq(v, hn::Zero(d)))) << i;
  }
  return i;
}

// Both planes of up to 32 codes; `readable` of them may be read, which are as many or more.
HWY_INLINE void code_word(const std::int8_t* codes, std::int64_t count, std::int64_t readable,
                          std::uint32_t& sign, std::uint32_t& nonzero) {
  sign = 0;
  nonzero = 0;
  std::int64_t i = code_vectors(hn::CappedTag<std::int8_t, 32>(), codes, 0, count, sign, nonzero);
  const hn::CappedTag<std::int8_t, 16> half;
  i = code_vectors(half, codes, i, count, sign, nonzero);
  const auto width = static_cast<std::int64_t>(hn::Lanes(half));
  if (i < count && i + width <= readable) {  // the next pixel's codes, too
    const std::uint32_t own = (1U << (count - i)) - 1U;
    const auto v = hn::LoadU(half, codes + i);
    sign |= (bits_of(half, hn::Lt(v, hn::Zero(half))) & own) << i;
    nonzero |= (bits_of(half, hn::Not(hn::Eq(v, hn::Zero(half)))) & own) << i;
    return;
  }
  for (; i < count; ++i) {
    sign |= (codes[i] < 0 ? 1U : 0U) << i;
    nonzero |= (codes[i] != 0 ? 1U : 0U) << i;
  }
}

void pack_codes_rows(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                     std::uint32_t* nonzero) {
  const std::int64_t words = sign_words(rows.channels);
  const std::int64_t all = rows.pixels * rows.channels;
  std::int64_t pixel = 0;
  if (2 * rows.channels == kSignsPerWord) {  // two pixels at a time
    constexpr std::uint32_t kHalf = 0xFFFFU;
    for (; pixel + 2 <= rows.pixels; pixel += 2) {
      std::uint32_t both[2];
      code_word(codes + pixel * rows.channels, kSignsPerWord, kSignsPerWord, both[0], both[1]);
      sign[pixel] = both[0] & kHalf;
      sign[pixel + 1] = both[0] >> 16U;
      if (nonzero == nullptr) continue;
      nonzero[pixel] = both[1] & kHalf;
      nonzero[pixel + 1] = both[1] >> 16U;
    }
  }
  for (; pixel < rows.pixels; ++pixel) {
    for (std::int64_t word = 0; word < words; ++word) {
      const std::int64_t c = word * kSignsPerWord;
      std::uint32_t both[2];
      const std::int64_t at = pixel * rows.channels + c;
      code_word(codes + at, std::min(kSignsPerWord, rows.channels - c), all - at, both[0], both[1]);
      sign[pixel * words + word] = both[0];
      if (nonzero != nullptr) nonzero[pixel * words + word] = both[1];
    }
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(pack_signs_rows);
HWY_EXPORT(pack_codes_rows);

constexpr std::int64_t kGrain = 32768;  // values below which one thread does all

std::int64_t grain_of(const BitRows& rows) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, rows.channels));
}

// Taps of a window along one axis that lie inside the image.
struct Taps {
  std::int64_t first, last;
};

Taps taps_of(std::int64_t out, std::int64_t kernel, const integer::Window& window,
             std::int64_t size) {
  const std::int64_t origin = out * window.stride - window.pad;
  return {std::max<std::int64_t>(0, origin), std::min(size, origin + kernel)};
}

}  // namespace

void pack_signs(const float* x, const BitRows& rows, const float* multiplier, const float* bias,
                std::uint32_t* bits) noexcept {
  apply_highway_cap();
  const std::int64_t words = sign_words(rows.channels);
  parallel_for(rows.pixels, grain_of(rows), [&](std::int64_t first, std::int64_t last, int) {
    HWY_DYNAMIC_DISPATCH(pack_signs_rows)
    (x + first * rows.channels, {last - first, rows.channels}, multiplier, bias,
     bits + first * words);
  });
}

void pack_codes_row(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                    std::uint32_t* nonzero) noexcept {
  apply_highway_cap();
  HWY_DYNAMIC_DISPATCH(pack_codes_rows)(codes, rows, sign, nonzero);
}

void pack_codes(const std::int8_t* codes, const BitRows& rows, std::uint32_t* sign,
                std::uint32_t* nonzero) noexcept {
  apply_highway_cap();
  const std::int64_t words = sign_words(rows.channels);
  parallel_for(rows.pixels, grain_of(rows), [&](std::int64_t first, std::int64_t last, int) {
    HWY_DYNAMIC_DISPATCH(pack_codes_rows)
    (codes + first * rows.channels, {last - first, rows.channels}, sign + first * words,
     nonzero == nullptr ? nullptr : nonzero + first * words);
  });
}

void unpack_signs(const std::uint32_t* bits, const BitRows& rows, std::int8_t* codes) noexcept {
  const std::int64_t words = sign_words(rows.channels);
  parallel_for(rows.pixels, grain_of(rows), [&](std::int64_t first, std::int64_t last, int) {
    reference::unpack_signs(bits + first * words, {last - first, rows.channels},
                            codes + first * rows.channels);
  });
}

void max_pool_signs(const std::uint32_t* bits, const Shape& source, const integer::Window& window,
                    const std::uint32_t* lowest, std::uint32_t* out) noexcept {
  const std::int64_t words = sign_words(source.c());
  const std::int64_t rows = (source.h() + 2 * window.pad - window.kernel_h) / window.stride + 1;
  const std::int64_t columns = (source.w() + 2 * window.pad - window.kernel_w) / window.stride + 1;
  parallel_for(source.n() * rows, 8, [&](std::int64_t first, std::int64_t last, int) {
    for (std::int64_t row = first; row < last; ++row) {
      const Taps ys = taps_of(row % rows, window.kernel_h, window, source.h());
      for (std::int64_t x = 0; x < columns; ++x) {
        const Taps xs = taps_of(x, window.kernel_w, window, source.w());
        for (std::int64_t word = 0; word < words; ++word) {
          std::uint32_t every = ~0U;
          std::uint32_t any = 0;
          for (std::int64_t y = ys.first; y < ys.last; ++y) {
            const std::int64_t line = (row / rows * source.h() + y) * source.w();
            for (std::int64_t c = xs.first; c < xs.last; ++c) {
              every &= bits[(line + c) * words + word];
              any |= bits[(line + c) * words + word];
            }
          }
          const std::uint32_t falling = lowest == nullptr ? 0U : lowest[word];
          out[(row * columns + x) * words + word] = (every & ~falling) | (any & falling);
        }
      }
    }
  });
}

}  // namespace bitloom::kernels
#endif
