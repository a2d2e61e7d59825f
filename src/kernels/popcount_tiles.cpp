// VPOPCNTDQ is worth a build of its own: Highway leaves it out unless asked for.
#ifndef HWY_WANT_AVX3_DL
#define HWY_WANT_AVX3_DL
#endif
#include "popcount_tiles.h"

#include <string>

#include "bitloom/kernels/highway.h"
#include "bitloom/kernels/popcount_product.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "popcount_tiles.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "popcount_counts-inl.h"
#include "popcount_finish-inl.h"

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
  finish_tile<kProduct>(tiles, finish, sums, index, row, panel);
}

// Panels [panel, panel + O) over all pixels: tiles of P, of half as many, then one by one.
template <BitProduct kProduct, int P, int O>
void run_panels(const PopcountTiles& tiles, const PopcountFinish& finish,
                const std::uint32_t* source, std::int64_t first, std::int64_t last,
                std::int64_t panel) {
  Pixels pixels(tiles, source, first);
  constexpr int kHalf = P > 3 ? P / 2 : 1;
  while (pixels.index + P <= last) run_tile<kProduct, P, O>(tiles, finish, pixels, panel);
  while (pixels.index + kHalf <= last) run_tile<kProduct, kHalf, O>(tiles, finish, pixels, panel);
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
  if (kProduct == BitProduct::kBinary) return {.four = 5, .two = 7, .one = 8};
  if (kProduct == BitProduct::kMasked) return {.four = 0, .two = 8, .one = 8};
  return {.four = 0, .two = 4, .one = 8};
#elif HWY_TARGET == HWY_AVX3
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
  // Reals of four panels leave in runs of 256 bytes; for bits, which are few, the taller tile
  // needs fewer loads.
  if constexpr (kShape.four > 0) {
    for (; finish.bits == nullptr && panel + 4 <= tiles.panels; panel += 4) {
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
