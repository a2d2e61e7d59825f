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

#include "quad_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

constexpr int kTaps = kDepthwiseTaps;
constexpr int kAccumulators = kDepthwiseAccumulators;
constexpr int kQuad = 4;  // rows of the source in one operand
constexpr int kTile = 2;  // output columns that share one load of the weights

// Where the rows of the source that a pass reads begin, and a pixel of padding. One offset serves
// all rows: those outside of the image lie in a row of padding.
struct SourceRows {
  const std::uint8_t* at[kQuad];
  const std::uint8_t* padding;
};

// Adjacent columns of pixels: quads of rows, in the lanes of the accumulators.
template <int kBytes>
struct Column {
  hn::Vec<Bytes<kBytes>> quads[kAccumulators];
};

template <int kBytes, int kRows, bool kPlain>
HWY_INLINE void load_column(const DepthwiseRows& rows, const SourceRows& source, std::int64_t x,
                            Column<kBytes>& column) {
  const Bytes<kBytes> d;
  const hn::Repartition<std::uint16_t, decltype(d)> d16;
  const bool within = x >= 0 && x < rows.w;
  hn::Vec<Bytes<kBytes>> row[kQuad];
  for (int r = 0; r < kRows; ++r) {
    row[r] = hn::LoadU(d, within ? source.at[r] + x * rows.c : source.padding);
    if constexpr (!kPlain) row[r] = hn::Xor(row[r], hn::Set(d, rows.flip));
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
}

// Pixels that share one load of the weights: kTile along each of a pass's rows, and the columns of
// the source that they read.
template <int kBytes, int kStride>
struct Tile {
  static constexpr int kRows = depthwise_pass_rows(kStride);
  static constexpr int kPixels = kRows * kTile;
  static constexpr int kColumns = kStride * (kTile - 1) + kTaps;
  static constexpr int kKept = kTaps - kStride;  // columns that the next tile reads again
  static constexpr int kOperand = kBytes * (kPairs ? 2 : 1);  // bytes of weights of one product
  using Columns = const Column<kBytes>* const[kColumns];
};

// t of all pixels of a tile in the channels of accumulator `a`: two roundings.
template <int kBytes, int kStride>
HWY_INLINE void scaled_sums(const std::int8_t* numbers,
                            const typename Tile<kBytes, kStride>::Columns& columns, int a,
                            hn::Vec<Floats<kBytes>>* t) {
  using Shape = Tile<kBytes, kStride>;
  constexpr int kProducts = Shape::kRows * kTaps;
  const Ints<kBytes> d;
  const Floats<kBytes> df;
  const std::int8_t* weights = numbers + a * kProducts * Shape::kOperand;
  const std::int8_t* bases = numbers + (kAccumulators * kProducts * Shape::kOperand + a * kBytes);
  const std::int8_t* multipliers = bases + kAccumulators * kBytes;
  const std::int8_t* biases = multipliers + kAccumulators * kBytes;
  hn::Vec<Ints<kBytes>> acc[Shape::kPixels];
  const auto base = hn::Load(d, reinterpret_cast<const std::int32_t*>(bases));
  for (auto& sums : acc) sums = base;
  decltype(product_operand(columns[0]->quads[a])) operands[Shape::kColumns];
  for (int c = 0; c < Shape::kColumns; ++c) operands[c] = product_operand(columns[c]->quads[a]);
  for (int r = 0; r < Shape::kRows; ++r) {
    for (int tap = 0; tap < kTaps; ++tap, weights += Shape::kOperand) {
      const auto weight = product_weight<kBytes>(weights);
      for (int x = 0; x < kTile; ++x) {
        auto& sums = acc[r * kTile + x];
        sums = add_quads(sums, operands[x * kStride + tap], weight);
      }
    }
  }
  const auto multiplier = hn::Load(df, reinterpret_cast<const float*>(multipliers));
  const auto bias = hn::Load(df, reinterpret_cast<const float*>(biases));
  for (int i = 0; i < Shape::kPixels; ++i) {
    t[i] = hn::Add(hn::Mul(hn::ConvertTo(df, acc[i]), multiplier), bias);
  }
}

// Where the pixels of a tile go; the first of a row always exists.
template <typename Out>
struct Target {
  Out* out;
  std::int64_t pixel, row;  // from one to the next
  bool second_pixel, second_row;

  HWY_INLINE bool has(int i) const {
    return (i % kTile == 0 || second_pixel) && (i < kTile || second_row);
  }
  HWY_INLINE Out* at(int i) const { return out + i % kTile * pixel + i / kTile * row; }
};

template <int kBytes, int kStride, bool kPlain>
HWY_INLINE void finish(const DepthwiseRows& rows, const std::int8_t* numbers,
                       const typename Tile<kBytes, kStride>::Columns& columns,
                       const Target<float>& target) {
  const Floats<kBytes> d;
  const auto low = hn::Set(d, rows.clip.low);
  const auto high = hn::Set(d, rows.clip.high);
  for (int a = 0; a < kAccumulators; ++a) {
    hn::Vec<Floats<kBytes>> t[Tile<kBytes, kStride>::kPixels];
    scaled_sums<kBytes, kStride>(numbers, columns, a, t);
    for (int i = 0; i < Tile<kBytes, kStride>::kPixels; ++i) {
      // Of two zeros the bound, as integer::clipped: what both instructions give.
      if (target.has(i)) store_blocks(hn::Min(hn::Max(t[i], low), high), target.at(i) + 4 * a);
    }
  }
}

// Sixteen-bit codes of one pixel's two pairs of accumulators to codes in the channels' order.
template <int kBytes, bool kPlain>
HWY_INLINE void store_codes(const DepthwiseRows& rows, hn::Vec<Halves<kBytes>> low,
                            hn::Vec<Halves<kBytes>> high, std::uint8_t* to) {
  const Bytes<kBytes> du;
  if (kPlain) {
    hn::StoreU(narrow_u8(low, high), du, to);
  } else {
    store_clamped<kBytes>(low, high, rows.signed_output, rows.qmin, rows.qmax, to);
  }
}

template <int kBytes, int kStride, bool kPlain>
HWY_INLINE void finish(const DepthwiseRows& rows, const std::int8_t* numbers,
                       const typename Tile<kBytes, kStride>::Columns& columns,
                       const Target<std::uint8_t>& target) {
  constexpr int kPixels = Tile<kBytes, kStride>::kPixels;
  const Floats<kBytes> d;
  hn::Vec<Halves<kBytes>> pairs[kAccumulators / 2][kPixels];
  for (int pair = 0; pair < kAccumulators / 2; ++pair) {
    hn::Vec<Floats<kBytes>> t[2][kPixels];
    for (int a = 0; a < 2; ++a) {
      scaled_sums<kBytes, kStride>(numbers, columns, 2 * pair + a, t[a]);
    }
    if (!kPlain && rows.clamps_reals) {
      for (auto& reals : t) {
        for (auto& real : reals) {
          real = hn::Min(hn::Max(real, hn::Set(d, static_cast<float>(rows.qmin))),
                         hn::Set(d, static_cast<float>(rows.qmax)));
        }
      }
    }
    for (int i = 0; i < kPixels; ++i) pairs[pair][i] = narrow(nearest(t[0][i]), nearest(t[1][i]));
  }
  for (int i = 0; i < kPixels; ++i) {
    if (target.has(i)) {
      store_codes<kBytes, kPlain>(rows, pairs[0][i], pairs[1][i], target.at(i));
    }
  }
}

template <int kBytes, int kStride, bool kPlain, typename Out>
HWY_INLINE void pass(const DepthwiseRows& shared, const DepthwiseBlock& block,
                     const SourceRows& shared_source, bool both_rows, Out* out) {
  using Shape = Tile<kBytes, kStride>;
  constexpr int kSourceRows = kTaps + Shape::kRows - 1;
  const DepthwiseRows rows = shared;  // own copies: no store to `out` changes them
  const SourceRows source = shared_source;
  const std::int8_t* numbers = block.weight;
  std::int64_t next = -rows.pad_w;  // the column that comes in next
  const auto load = [&](Column<kBytes>& column) HWY_ATTR {
    load_column<kBytes, kSourceRows, kPlain>(rows, source, next++, column);
  };
  const auto target = [&](std::int64_t x) HWY_ATTR {
    return Target<Out>{.out = out + x * rows.c,
                       .pixel = rows.c,
                       .row = rows.ow * rows.c,
                       .second_pixel = x + 1 < rows.ow,
                       .second_row = both_rows};
  };
  Column<kBytes> c[Shape::kColumns];
  for (int k = 0; k < Shape::kKept; ++k) load(c[k]);
  if constexpr (kStride == 1) {  // two tiles a turn, so that no column moves
    for (std::int64_t x = 0; x < rows.ow; x += kTile) {
      load(c[2]);
      load(c[3]);
      finish<kBytes, kStride, kPlain>(rows, numbers, {&c[0], &c[1], &c[2], &c[3]}, target(x));
      x += kTile;
      if (x >= rows.ow) break;
      load(c[0]);
      load(c[1]);
      finish<kBytes, kStride, kPlain>(rows, numbers, {&c[2], &c[3], &c[0], &c[1]}, target(x));
    }
  } else {
    for (std::int64_t x = 0; x < rows.ow; x += kTile) {
      for (int k = Shape::kKept; k < Shape::kColumns; ++k) load(c[k]);
      finish<kBytes, kStride, kPlain>(rows, numbers, {&c[0], &c[1], &c[2], &c[3], &c[4]},
                                      target(x));
      c[0] = c[4];
    }
  }
}

template <int kBytes, bool kPlain, typename Out>
HWY_INLINE void pass_of_width(const DepthwiseRows& rows, const DepthwiseBlock& block,
                              const SourceRows& source, bool both_rows, Out* out) {
  if (rows.stride == 1) {
    pass<kBytes, 1, kPlain>(rows, block, source, both_rows, out);
  } else {
    pass<kBytes, 2, kPlain>(rows, block, source, both_rows, out);
  }
}

template <bool kPlain, typename Out>
HWY_INLINE void pass_to(const DepthwiseRows& rows, const DepthwiseBlock& block,
                        const SourceRows& from, std::int64_t row, Out* out) {
  const bool both_rows = row + 1 < rows.oh;
  Out* to = out + row * rows.ow * rows.c + block.first;
  switch (block.channels) {
#if HWY_TARGET <= HWY_AVX3
    case 64:
      return pass_of_width<64, kPlain>(rows, block, from, both_rows, to);
#endif
#if HWY_TARGET <= HWY_AVX2
    case 32:
      return pass_of_width<32, kPlain>(rows, block, from, both_rows, to);
#endif
    default:
      return pass_of_width<16, kPlain>(rows, block, from, both_rows, to);
  }
}

void run_pass(const DepthwiseRows& rows, const DepthwiseBlock& block, const std::uint8_t* source,
              std::int64_t row, void* out) {
  SourceRows from{.at = {}, .padding = rows.padding + block.first};
  for (std::int64_t r = 0; r < kQuad; ++r) {
    const std::int64_t y = row * rows.stride - rows.pad_h + r;
    const bool within = y >= 0 && y < rows.h;
    from.at[r] = within ? source + y * rows.w * rows.c + block.first : from.padding;
  }
  if (rows.real_output) {
    pass_to<false>(rows, block, from, row, static_cast<float*>(out));
  } else if (rows.plain_codes) {
    pass_to<true>(rows, block, from, row, static_cast<std::uint8_t*>(out));
  } else {
    pass_to<false>(rows, block, from, row, static_cast<std::uint8_t*>(out));
  }
}

DepthwiseLayout layout() {
  return {.bytes = HWY_MAX_BYTES, .pairs = kPairs, .target = hwy::TargetName(HWY_TARGET)};
}

#else  // no kernel

void run_pass(const DepthwiseRows&, const DepthwiseBlock&, const std::uint8_t*, std::int64_t,
              void*) {}
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
                    const std::uint8_t* source, std::int64_t row, void* out) noexcept {
  HWY_DYNAMIC_DISPATCH(run_pass)(rows, block, source, row, out);
}

}  // namespace bitloom::kernels
#endif
