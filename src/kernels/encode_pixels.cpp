// Permutations of bytes come with the same build as VPOPCNTDQ.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#include "bitloom/kernels/encode_pixels.h"

#include "bitloom/core/parallel.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "encode_pixels.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

#if HWY_TARGET == HWY_AVX3_DL

constexpr std::int64_t kVector = 64;

// One channel's table in registers.
struct Table {
  __m512i low[2], high[2];  // entries 0 .. 127 and 128 .. 255
};

template <int kChannels>
void encode_vectors(const std::uint8_t* pixels, std::int64_t vectors, std::int64_t first_byte,
                    const std::uint8_t* table, std::uint8_t* to) {
  Table tables[kChannels];
  __mmask64 lanes[kChannels][kChannels];  // [channel of lane 0][channel]
  for (int c = 0; c < kChannels; ++c) {
    const std::uint8_t* from = table + c * 256;
    for (int half = 0; half < 2; ++half) {
      tables[c].low[half] = _mm512_loadu_si512(from + half * kVector);
      tables[c].high[half] = _mm512_loadu_si512(from + (half + 2) * kVector);
    }
    for (int start = 0; start < kChannels; ++start) {
      lanes[start][c] = 0;
      for (int lane = 0; lane < kVector; ++lane) {
        if ((start + lane) % kChannels == c) lanes[start][c] |= __mmask64{1} << lane;
      }
    }
  }
  for (std::int64_t i = 0; i < vectors; ++i) {
    const __m512i pixel = _mm512_loadu_si512(pixels + i * kVector);
    const __mmask64 upper = _mm512_movepi8_mask(pixel);
    const __mmask64* mine = lanes[(first_byte + i * kVector) % kChannels];
    __m512i codes = _mm512_setzero_si512();
    for (int c = 0; c < kChannels; ++c) {
      const Table& t = tables[c];
      const __m512i low = _mm512_permutex2var_epi8(t.low[0], pixel, t.low[1]);
      const __m512i high = _mm512_permutex2var_epi8(t.high[0], pixel, t.high[1]);
      codes = _mm512_mask_mov_epi8(codes, mine[c], _mm512_mask_mov_epi8(low, upper, high));
    }
    _mm512_storeu_si512(to + i * kVector, codes);
  }
}

// Bytes [first, last) of all pixels, as many of them as fill vectors; how many that is.
std::int64_t encode_bytes(const std::uint8_t* pixels, std::int64_t first, std::int64_t last,
                          std::int64_t channels, const std::uint8_t* table, std::uint8_t* to) {
  const std::int64_t vectors = (last - first) / kVector;
  switch (channels) {
    case 1:
      encode_vectors<1>(pixels + first, vectors, first, table, to + first);
      break;
    case 2:
      encode_vectors<2>(pixels + first, vectors, first, table, to + first);
      break;
    case 3:
      encode_vectors<3>(pixels + first, vectors, first, table, to + first);
      break;
    case 4:
      encode_vectors<4>(pixels + first, vectors, first, table, to + first);
      break;
    default:
      return 0;
  }
  return vectors * kVector;
}

#else

std::int64_t encode_bytes(const std::uint8_t*, std::int64_t, std::int64_t, std::int64_t,
                          const std::uint8_t*, std::uint8_t*) {
  return 0;
}

#endif

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(encode_bytes);

constexpr std::int64_t kFewestBytes = 4096;  // below, a table is not worth its registers
constexpr std::int64_t kMostChannels = 4;

}  // namespace

void encode_pixels(ConstTensorView images, ConstTensorView table, TensorView out) {
  apply_highway_cap();
  const std::int64_t channels = images.shape().c();
  const std::int64_t bytes = images.elements();
  const bool codes = table.dtype() == DType::kU8 || table.dtype() == DType::kS8;
  if (!codes || channels > kMostChannels || bytes < kFewestBytes) {
    return integer::encode_input(images, table, out);
  }
  const auto* pixels = images.data<std::uint8_t>();
  const auto* entries = static_cast<const std::uint8_t*>(table.raw());
  auto* to = static_cast<std::uint8_t*>(out.raw());
  parallel_for(bytes, 4 * kFewestBytes, [&](std::int64_t first, std::int64_t last, int) {
    const auto done =
        HWY_DYNAMIC_DISPATCH(encode_bytes)(pixels, first, last, channels, entries, to);
    for (std::int64_t i = first + done; i < last; ++i) {
      to[i] = entries[i % channels * 256 + pixels[i]];
    }
  });
}

}  // namespace bitloom::kernels
#endif
