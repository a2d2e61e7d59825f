#include "bitloom/kernels/channel_statistics.h"

#include <algorithm>

#include "channel_pieces.h"

#ifndef BITLOOM_CHANNEL_PART
#define BITLOOM_CHANNEL_PART
namespace bitloom::kernels {
// One thread's rows; compiled once, used by every target below.
struct ChannelPart {
  ChannelValues x;
  std::int64_t rows;
  std::int64_t channels;
  double* mean;     // [channels]
  double* squares;  // sum of squared distances to the mean [channels]
  float* least;     // [channels], or nullptr
  float* greatest;
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "channel_statistics.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

// Sums of one tile and one block of channels, joined to those of the `seen` rows before; T is what
// lies in memory.
template <typename T>
struct StatisticsBlock {
  ChannelPart part;
  std::int64_t seen;
  std::int64_t first;
  std::int64_t last;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) const {
    one_by_one(d, vectors, static_cast<const T*>(part.x.at), part.channels, first, last, channel,
               [&](std::int64_t at) HWY_ATTR { (*this)(d, Vectors<1>(), at); });
  }
  template <class D>
  HWY_INLINE void operator()(D d, Vectors<1> /*vectors*/, std::int64_t channel) const {
    if (seen == 0) start(d, channel);
    HWY_ALIGN float sums[hn::MaxLanes(d)];
    HWY_ALIGN float squares[hn::MaxLanes(d)];
    HWY_ALIGN float origins[hn::MaxLanes(d)];
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
      origins[k] = static_cast<float>(part.mean[channel + static_cast<std::int64_t>(k)]);
    }
    const auto origin = hn::Load(d, origins);
    // Four sums: a chain of additions would wait, and lose digits.
    const auto zero = hn::Zero(d);
    auto sum0 = zero, sum1 = zero, sum2 = zero, sum3 = zero;
    auto square0 = zero, square1 = zero, square2 = zero, square3 = zero;
    const auto scale = scale_at(d, channel);
    const auto distance = [&](std::int64_t row)
                              HWY_ATTR { return hn::Sub(value(d, scale, row, channel), origin); };
    std::int64_t row = first;
    for (; row + 4 <= last; row += 4) {
      const auto v0 = distance(row);
      const auto v1 = distance(row + 1);
      const auto v2 = distance(row + 2);
      const auto v3 = distance(row + 3);
      sum0 = hn::Add(sum0, v0);
      sum1 = hn::Add(sum1, v1);
      sum2 = hn::Add(sum2, v2);
      sum3 = hn::Add(sum3, v3);
      square0 = hn::Add(square0, hn::Mul(v0, v0));
      square1 = hn::Add(square1, hn::Mul(v1, v1));
      square2 = hn::Add(square2, hn::Mul(v2, v2));
      square3 = hn::Add(square3, hn::Mul(v3, v3));
    }
    for (; row < last; ++row) {
      const auto v = distance(row);
      sum0 = hn::Add(sum0, v);
      square0 = hn::Add(square0, hn::Mul(v, v));
    }
    const auto sum = hn::Add(hn::Add(sum0, sum1), hn::Add(sum2, sum3));
    const auto square = hn::Add(hn::Add(square0, square1), hn::Add(square2, square3));
    if (part.least != nullptr) widen(d, channel);
    hn::Store(sum, d, sums);
    hn::Store(square, d, squares);
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
      join(channel + static_cast<std::int64_t>(k), static_cast<double>(origins[k]),
           static_cast<double>(sums[k]), static_cast<double>(squares[k]));
    }
  }

  template <class D>
  HWY_INLINE hn::Vec<D> scale_at(D d, std::int64_t channel) const {
    return part.x.scale == nullptr ? hn::Zero(d) : hn::LoadU(d, part.x.scale + channel);
  }
  template <class D>
  HWY_INLINE hn::Vec<D> value(D d, hn::Vec<D> scale, std::int64_t row, std::int64_t channel) const {
    return load_values(d, static_cast<const T*>(part.x.at) + row * part.channels + channel, scale);
  }

  // The first tile has no mean before it: its own, roughly.
  template <class D>
  HWY_INLINE void start(D d, std::int64_t channel) const {
    HWY_ALIGN float lanes[hn::MaxLanes(d)];
    auto sum = hn::Zero(d);
    const auto scale = scale_at(d, channel);
    for (std::int64_t row = first; row < last; ++row) {
      sum = hn::Add(sum, value(d, scale, row, channel));
    }
    HWY_ALIGN float x[hn::MaxLanes(d)];
    hn::Store(sum, d, lanes);
    hn::Store(value(d, scale, first, channel), d, x);
    for (std::size_t k = 0; k < hn::Lanes(d); ++k) {
      part.mean[channel + static_cast<std::int64_t>(k)] =
          static_cast<double>(lanes[k]) / static_cast<double>(last - first);
      part.squares[channel + static_cast<std::int64_t>(k)] = 0.0;
      if (part.least == nullptr) continue;
      part.least[channel + static_cast<std::int64_t>(k)] = x[k];
      part.greatest[channel + static_cast<std::int64_t>(k)] = x[k];
    }
  }

  template <class D>
  HWY_INLINE void widen(D d, std::int64_t channel) const {
    auto low = hn::LoadU(d, part.least + channel);
    auto high = hn::LoadU(d, part.greatest + channel);
    const auto scale = scale_at(d, channel);
    for (std::int64_t row = first; row < last; ++row) {
      const auto v = value(d, scale, row, channel);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
    }
    hn::StoreU(low, d, part.least + channel);
    hn::StoreU(high, d, part.greatest + channel);
  }

  HWY_INLINE void join(std::int64_t channel, double origin, double sum, double square) const {
    const auto count = static_cast<double>(last - first);
    const auto before = static_cast<double>(seen);
    const double shift = sum / count;
    const double inside = square - sum * shift;
    const double distance = origin + shift - part.mean[channel];
    part.mean[channel] += distance * count / (before + count);
    // Rounding may leave a little below 0; a NaN stays.
    part.squares[channel] +=
        (inside < 0.0 ? 0.0 : inside) + distance * distance * before * count / (before + count);
  }
};

template <typename T>
struct StatisticsTile {
  ChannelPart part;
  std::int64_t seen = 0;

  HWY_INLINE void operator()(std::int64_t first, std::int64_t last) {
    const StatisticsBlock<T> block{part, seen, first, last};
    for_each_block(part.channels, block);
    seen += last - first;
  }
};

void statistics_part(const ChannelPart& part) {
  if (part.x.dtype == DType::kF32) {
    StatisticsTile<float> tile{part};
    for_each_tile(part.rows, true, tile);
  } else {
    StatisticsTile<Bf16> tile{part};
    for_each_tile(part.rows, true, tile);
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(statistics_part);

// Elements below which a thread more costs more than it brings.
constexpr std::int64_t kGrain = 16384;
constexpr std::size_t kAlignment = 64;

// Rows of one piece, its results in its part of the scratch: two rows of doubles, two of floats.
ChannelPart part_of(const ChannelValues& x, const ChannelRows& size, std::byte* scratch,
                    std::int64_t piece, bool ranges) {
  const std::int64_t begin = first_row(size, piece);
  double* doubles = piece_sums(scratch, size, piece);
  auto* floats = reinterpret_cast<float*>(doubles + 2 * size.channels);
  return {.x = from_element(x, begin * size.channels),
          .rows = first_row(size, piece + 1) - begin,
          .channels = size.channels,
          .mean = doubles,
          .squares = doubles + size.channels,
          .least = ranges ? floats : nullptr,
          .greatest = ranges ? floats + size.channels : nullptr};
}

}  // namespace

ChannelRows channel_rows(std::int64_t rows, std::int64_t channels) {
  const std::int64_t most = std::min<std::int64_t>(threads(), rows);
  const std::int64_t pieces = std::clamp<std::int64_t>(rows * channels / kGrain, 1, most);
  return {.rows = rows, .channels = channels, .pieces = static_cast<int>(pieces)};
}

std::size_t channel_scratch_bytes(const ChannelRows& size) {
  const std::size_t bytes =
      static_cast<std::size_t>(size.pieces * kSumRows * size.channels) * sizeof(double);
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

void channel_statistics(const ChannelValues& x, const ChannelRows& size, float* mean,
                        float* variance, MinMax* ranges, std::byte* scratch) noexcept {
  for_each_channel_piece(size, [&](std::int64_t piece, std::int64_t, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(statistics_part)(part_of(x, size, scratch, piece, ranges != nullptr));
  });
  for (std::int64_t c = 0; c < size.channels; ++c) {
    double whole = 0.0;
    double squares = 0.0;
    double seen = 0.0;
    for (std::int64_t piece = 0; piece < size.pieces; ++piece) {
      const ChannelPart part = part_of(x, size, scratch, piece, ranges != nullptr);
      const auto count = static_cast<double>(part.rows);
      const double distance = part.mean[c] - whole;
      whole += distance * count / (seen + count);
      squares += part.squares[c] + distance * distance * seen * count / (seen + count);
      seen += count;
      if (ranges == nullptr) continue;
      const MinMax own{part.least[c], part.greatest[c]};
      ranges[c] = piece == 0
                      ? own
                      : MinMax{std::min(ranges[c].min, own.min), std::max(ranges[c].max, own.max)};
    }
    mean[c] = static_cast<float>(whole);
    variance[c] = static_cast<float>(squares / seen);
  }
}

}  // namespace bitloom::kernels
#endif
