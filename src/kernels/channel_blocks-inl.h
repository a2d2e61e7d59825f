// How the Highway kernels over rows of channels walk: tiles of rows, and in each tile blocks of as
// many channels as a vector has lanes. Included once per target.
#if defined(BITLOOM_CHANNEL_BLOCKS_INL_H) == defined(HWY_TARGET_TOGGLE)
#ifdef BITLOOM_CHANNEL_BLOCKS_INL_H
#undef BITLOOM_CHANNEL_BLOCKS_INL_H
#else
#define BITLOOM_CHANNEL_BLOCKS_INL_H
#endif

#include <hwy/cache_control.h>
#include <hwy/highway.h>

#include <algorithm>
#include <cstdint>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Widest = hn::ScalableTag<float>;
using Fours = hn::CappedTag<float, 4>;
using Ones = hn::CappedTag<float, 1>;

// Rows whose sums stay in f32. A vector's constants and sums lie in registers for as long.
inline constexpr std::int64_t kTileRows = 128;

// Rows of a column of lines that are fetched ahead; the CPU foresees none where channels are many.
inline constexpr std::int64_t kAhead = 48;

// How many vectors of a row a block takes.
template <int kCount>
struct Vectors {};

// body(tag, vectors, channel) for blocks that cover all channels: four vectors that lie together,
// two, one, fours of floats, single ones. Where channels are many, a column of single lines misses
// every cache, and too few sets of the first one hold it.
template <class Body>
HWY_INLINE void for_each_block(std::int64_t channels, Body& body) {
  std::int64_t channel = 0;
  const auto cover = [&](auto tag, auto vectors, std::int64_t count) HWY_ATTR {
    const std::int64_t width = count * static_cast<std::int64_t>(hn::Lanes(tag));
    for (; channel + width <= channels; channel += width) body(tag, vectors, channel);
  };
  cover(Widest(), Vectors<4>(), 4);
  cover(Widest(), Vectors<2>(), 2);
  cover(Widest(), Vectors<1>(), 1);
  cover(Fours(), Vectors<1>(), 1);
  cover(Ones(), Vectors<1>(), 1);
}

// body(channel) for vectors that lie together, one after the other, behind one fetch of their rows
// of x.
template <class D, int kCount, class T, class Body>
HWY_INLINE void one_by_one(D d, Vectors<kCount> /*vectors*/, const T* x, std::int64_t channels,
                           std::int64_t first, std::int64_t last, std::int64_t channel,
                           const Body& body) {
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d));
  for (std::int64_t row = first; row < last; ++row) {
    const T* at = x + row * channels + channel;
    for (std::int64_t k = 0; k < kCount; ++k) hwy::Prefetch(at + k * lanes);
  }
  for (std::int64_t k = 0; k < kCount; ++k) body(channel + k * lanes);
}

// body(first row, last row) for tiles that cover all rows. The last row first meets in the cache
// what a pass from the first row on has just written there.
template <class Body>
HWY_INLINE void for_each_tile(std::int64_t rows, bool last_first, Body& body) {
  const std::int64_t tiles = (rows + kTileRows - 1) / kTileRows;
  for (std::int64_t k = 0; k < tiles; ++k) {
    const std::int64_t tile = last_first ? tiles - 1 - k : k;
    body(tile * kTileRows, std::min(rows, (tile + 1) * kTileRows));
  }
}

// A tile of a part whose blocks have no state of their own: Block{part, first row, last row}.
template <class Block, class Part>
struct PartTile {
  Part part;

  HWY_INLINE void operator()(std::int64_t first, std::int64_t last) const {
    const Block block{part, first, last};
    for_each_block(part.channels, block);
  }
};

// sums[lane] += v[lane].
template <class D, class V>
HWY_INLINE void add_lanes(D d, V v, double* sums) {
  HWY_ALIGN float lanes[hn::MaxLanes(d)];
  hn::Store(v, d, lanes);
  for (std::size_t k = 0; k < hn::Lanes(d); ++k) sums[k] += static_cast<double>(lanes[k]);
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
