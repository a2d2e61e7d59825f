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

#include "depthwise_vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#if HWY_ARCH_X86 && HWY_TARGET != HWY_SCALAR && HWY_TARGET != HWY_EMU128

constexpr int kTaps = kDepthwiseTaps;
constexpr int kAccumulators = kDepthwiseAccumulators;
constexpr int kQuad = 4;  // rows of the source in one operand

// Where the rows of the source that one pass reads begin, and how far apart their pixels lie: 0
// where a row lies outside and all its pixels are the pad pixel.
struct SourceRows {
  const std::uint8_t* at[kQuad];
  std::int64_t step[kQuad];
};

// One column of pixels: quads of rows, in the lanes of the accumulators.
template <int kBytes>
struct Column {
  hn::Vec<Bytes<kBytes>> quads[kAccumulators];
};

template <int kBytes, int kRows>
HWY_INLINE Column<kBytes> load_column(const DepthwiseRows& rows, const SourceRows& source,
                                      std::int64_t x) {
  const Bytes<kBytes> d;
  const hn::Repartition<std::uint16_t, decltype(d)> d16;
  Column<kBytes> column;
  if (x < 0 || x >= rows.w) {
    for (auto& quads : column.quads) quads = hn::Set(d, rows.pad);
    return column;
  }
  const auto flip = hn::Set(d, rows.flip);
  hn::Vec<Bytes<kBytes>> row[kQuad];
  for (int r = 0; r < kRows; ++r) {
    row[r] = hn::Xor(hn::LoadU(d, source.at[r] + x * source.step[r]), flip);
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
  return column;
}

// t of accumulator `a`: two roundings.
template <int kBytes>
HWY_INLINE hn::Vec<Floats<kBytes>> scaled(const DepthwiseBlock& block, hn::Vec<Ints<kBytes>> acc,
                                          int a) {
  const Floats<kBytes> d;
  const std::size_t lane = static_cast<std::size_t>(a) * hn::MaxLanes(d);
  const auto product = hn::Mul(hn::ConvertTo(d, acc), hn::Load(d, block.multiplier + lane));
  return hn::Add(product, hn::Load(d, block.bias + lane));
}

template <int kBytes>
HWY_INLINE void finish(const DepthwiseRows& rows, const DepthwiseBlock& block,
                       const hn::Vec<Ints<kBytes>>* acc, float* to) {
  const Floats<kBytes> d;
  const auto low = hn::Set(d, rows.clip.low);
  const auto high = hn::Set(d, rows.clip.high);
  for (int a = 0; a < kAccumulators; ++a) {
    // Of two zeros the bound, as integer::clipped: what both instructions give.
    const auto t = hn::Min(hn::Max(scaled<kBytes>(block, acc[a], a), low), high);
    store_blocks(t, to + std::size_t{4} * static_cast<std::size_t>(a));
  }
}

// Sums of one pixel to codes; the accumulators' lanes pack back into the channels' order.
template <int kBytes>
HWY_INLINE void finish(const DepthwiseRows& rows, const DepthwiseBlock& block,
                       const hn::Vec<Ints<kBytes>>* acc, std::uint8_t* to) {
  const Floats<kBytes> d;
  hn::Vec<Ints<kBytes>> code[kAccumulators];
  for (int a = 0; a < kAccumulators; ++a) {
    auto t = scaled<kBytes>(block, acc[a], a);
    if (rows.clamps_reals) {
      t = hn::Min(hn::Max(t, hn::Set(d, static_cast<float>(rows.qmin))),
                  hn::Set(d, static_cast<float>(rows.qmax)));
    }
    code[a] = nearest(t);
  }
  const auto low = narrow(code[0], code[1]);
  const auto high = narrow(code[2], code[3]);
  const Bytes<kBytes> du;
  if (rows.signed_output) {
    const hn::RebindToSigned<decltype(du)> ds;
    const auto codes = hn::BitCast(ds, narrow_s8(low, high));
    hn::StoreU(hn::Min(hn::Max(codes, hn::Set(ds, static_cast<std::int8_t>(rows.qmin))),
                       hn::Set(ds, static_cast<std::int8_t>(rows.qmax))),
               ds, reinterpret_cast<std::int8_t*>(to));
  } else {
    hn::StoreU(
        hn::Min(hn::Max(narrow_u8(low, high), hn::Set(du, static_cast<std::uint8_t>(rows.qmin))),
                hn::Set(du, static_cast<std::uint8_t>(rows.qmax))),
        du, to);
  }
}

template <int kBytes, int kStride, typename Out>
HWY_INLINE void pass(const DepthwiseRows& rows, const DepthwiseBlock& block,
                     const SourceRows& source, bool both_rows, Out* out) {
  constexpr int kRows = depthwise_pass_rows(kStride);
  constexpr int kSourceRows = kTaps + kRows - 1;
  constexpr int kOperand = kBytes * (kPairs ? 2 : 1);  // bytes of one accumulator's weights
  const Ints<kBytes> d;
  Column<kBytes> columns[kTaps];
  std::int64_t next = -rows.pad_w;  // the column that comes in next
  for (int k = 0; k < kTaps - kStride; ++k) {
    columns[k + kStride] = load_column<kBytes, kSourceRows>(rows, source, next++);
  }
  for (std::int64_t x = 0; x < rows.ow; ++x) {
    for (int k = 0; k < kTaps - kStride; ++k) columns[k] = columns[k + kStride];
    for (int k = kTaps - kStride; k < kTaps; ++k) {
      columns[k] = load_column<kBytes, kSourceRows>(rows, source, next++);
    }
    const std::int8_t* weight = block.weight;
    for (int r = 0; r < kRows; ++r) {
      hn::Vec<Ints<kBytes>> acc[kAccumulators];
      for (int a = 0; a < kAccumulators; ++a) {
        acc[a] = hn::Load(d, block.base + static_cast<std::size_t>(a) * hn::MaxLanes(d));
      }
      for (const Column<kBytes>& column : columns) {
        for (int a = 0; a < kAccumulators; ++a) {
          acc[a] = add_quads(acc[a], column.quads[a], weight);
          weight += kOperand;
        }
      }
      if (r == 0 || both_rows) {
        finish<kBytes>(rows, block, acc, out + (r * rows.ow + x) * rows.c);
      }
    }
  }
}

template <int kBytes, typename Out>
HWY_INLINE void pass_of_width(const DepthwiseRows& rows, const DepthwiseBlock& block,
                              const SourceRows& source, bool both_rows, Out* out) {
  if (rows.stride == 1) {
    pass<kBytes, 1>(rows, block, source, both_rows, out);
  } else {
    pass<kBytes, 2>(rows, block, source, both_rows, out);
  }
}

template <typename Out>
HWY_INLINE void pass_to(const DepthwiseRows& rows, const DepthwiseBlock& block,
                        const SourceRows& from, std::int64_t row, Out* out) {
  const bool both_rows = row + 1 < rows.oh;
  Out* to = out + row * rows.ow * rows.c + block.first;
  switch (block.channels) {
#if HWY_TARGET <= HWY_AVX3
    case 64:
      return pass_of_width<64>(rows, block, from, both_rows, to);
#endif
#if HWY_TARGET <= HWY_AVX2
    case 32:
      return pass_of_width<32>(rows, block, from, both_rows, to);
#endif
    default:
      return pass_of_width<16>(rows, block, from, both_rows, to);
  }
}

void run_pass(const DepthwiseRows& rows, const DepthwiseBlock& block, const std::uint8_t* source,
              std::int64_t row, void* out) {
  SourceRows from;
  for (std::int64_t r = 0; r < kQuad; ++r) {
    const std::int64_t y = row * rows.stride - rows.pad_h + r;
    const bool inside = y >= 0 && y < rows.h;
    from.at[r] = (inside ? source + y * rows.w * rows.c : rows.pad_pixel) + block.first;
    from.step[r] = inside ? rows.c : 0;
  }
  if (rows.real_output) {
    pass_to(rows, block, from, row, static_cast<float*>(out));
  } else {
    pass_to(rows, block, from, row, static_cast<std::uint8_t*>(out));
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
