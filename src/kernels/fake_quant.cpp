#include "bitloom/kernels/fake_quant.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/highway.h"

#ifndef BITLOOM_FAKE_QUANT_PIECE
#define BITLOOM_FAKE_QUANT_PIECE
namespace bitloom::kernels {
// One contiguous piece with one scale; compiled once, used by every target below.
struct Piece {
  float scale;
  float inverse;
  integer::AffineFormat format;
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "fake_quant.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Ints = hn::RebindToSigned<Floats>;

// Codes of one vector as f32: clamp(x * inverse + zero_point) rounded half to even.
template <class V>
HWY_INLINE V codes_of(V x, V inverse, V zero, V low, V high) {
  const V scaled = hn::Add(hn::Mul(x, inverse), zero);
  return hn::Round(hn::Min(hn::Max(scaled, low), high));
}

// Codes of a binary grid as f32: integer::sign_code.
template <class V>
HWY_INLINE V signs_of(V x) {
  const Floats d;
  return hn::IfThenElse(hn::Ge(x, hn::Zero(d)), hn::Set(d, 1.0F), hn::Set(d, -1.0F));
}

template <typename Code>
HWY_INLINE void quantize_loop(const float* x, std::int64_t count, const Piece& piece, Code* codes) {
  const Floats d;
  const hn::Rebind<Code, Floats> d_code;
  const auto inverse = hn::Set(d, piece.inverse);
  const auto zero = hn::Set(d, static_cast<float>(piece.format.zero_point));
  const auto low = hn::Set(d, static_cast<float>(piece.format.range.qmin));
  const auto high = hn::Set(d, static_cast<float>(piece.format.range.qmax));
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  const bool binary = piece.format.grid == integer::Grid::kBinary;
  for (; i + step <= count; i += step) {
    const auto v = hn::LoadU(d, x + i);
    const auto code = binary ? signs_of(v) : codes_of(v, inverse, zero, low, high);
    hn::StoreU(hn::DemoteTo(d_code, hn::ConvertTo(Ints(), code)), d_code, codes + i);
  }
  for (; i < count; ++i) {
    codes[i] = static_cast<Code>(integer::quantize(x[i], piece.inverse, piece.format));
  }
}

void quantize_piece(const float* x, std::int64_t count, const Piece& piece, void* codes) {
  if (piece.format.is_signed) {
    quantize_loop(x, count, piece, static_cast<std::int8_t*>(codes));
  } else {
    quantize_loop(x, count, piece, static_cast<std::uint8_t*>(codes));
  }
}

// y = addend + scale * (code - zero_point); addend is nullptr for a plain dequantize.
template <typename Code>
HWY_INLINE void dequantize_loop(const Code* codes, const float* addend, std::int64_t count,
                                const Piece& piece, float* y) {
  const Floats d;
  const Ints d_int;
  const hn::Rebind<Code, Floats> d_code;
  const auto scale = hn::Set(d, piece.scale);
  const auto zero = hn::Set(d_int, piece.format.zero_point);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto code = hn::PromoteTo(d_int, hn::LoadU(d_code, codes + i));
    auto real = hn::Mul(scale, hn::ConvertTo(d, hn::Sub(code, zero)));
    if (addend != nullptr) real = hn::Add(hn::LoadU(d, addend + i), real);
    hn::StoreU(real, d, y + i);
  }
  for (; i < count; ++i) {
    const float real = integer::dequantize(codes[i], piece.scale, piece.format.zero_point);
    y[i] = addend != nullptr ? addend[i] + real : real;
  }
}

void dequantize_piece(const void* codes, const float* addend, std::int64_t count,
                      const Piece& piece, float* y) {
  if (piece.format.is_signed) {
    dequantize_loop(static_cast<const std::int8_t*>(codes), addend, count, piece, y);
  } else {
    dequantize_loop(static_cast<const std::uint8_t*>(codes), addend, count, piece, y);
  }
}

// y = fma(code - zero_point, scale, addend), fused on every target.
template <typename Code>
HWY_INLINE void residual_loop(const Code* codes, const float* addend, std::int64_t count,
                              const Piece& piece, float* y) {
  std::int64_t i = 0;
#if HWY_NATIVE_FMA
  const Floats d;
  const Ints d_int;
  const hn::Rebind<Code, Floats> d_code;
  const auto scale = hn::Set(d, piece.scale);
  const auto zero = hn::Set(d_int, piece.format.zero_point);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  for (; i + step <= count; i += step) {
    const auto code = hn::PromoteTo(d_int, hn::LoadU(d_code, codes + i));
    const auto steps = hn::ConvertTo(d, hn::Sub(code, zero));
    hn::StoreU(hn::MulAdd(steps, scale, hn::LoadU(d, addend + i)), d, y + i);
  }
#endif
  for (; i < count; ++i) {
    y[i] = std::fma(static_cast<float>(codes[i] - piece.format.zero_point), piece.scale, addend[i]);
  }
}

void residual_piece(const void* codes, const float* addend, std::int64_t count, const Piece& piece,
                    float* y) {
  if (piece.format.is_signed) {
    residual_loop(static_cast<const std::int8_t*>(codes), addend, count, piece, y);
  } else {
    residual_loop(static_cast<const std::uint8_t*>(codes), addend, count, piece, y);
  }
}

void fake_quantize_piece(const float* x, std::int64_t count, const Piece& piece, float* y) {
  const Floats d;
  const auto scale = hn::Set(d, piece.scale);
  const auto inverse = hn::Set(d, piece.inverse);
  const auto zero = hn::Set(d, static_cast<float>(piece.format.zero_point));
  const auto low = hn::Set(d, static_cast<float>(piece.format.range.qmin));
  const auto high = hn::Set(d, static_cast<float>(piece.format.range.qmax));
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  const bool binary = piece.format.grid == integer::Grid::kBinary;
  for (; i + step <= count; i += step) {
    const auto v = hn::LoadU(d, x + i);
    const auto code = binary ? signs_of(v) : codes_of(v, inverse, zero, low, high);
    hn::StoreU(hn::Mul(scale, hn::Sub(code, zero)), d, y + i);
  }
  for (; i < count; ++i) {
    y[i] = integer::dequantize(integer::quantize(x[i], piece.inverse, piece.format), piece.scale,
                               piece.format.zero_point);
  }
}

// Writes dx and returns this piece's share of the sums.
GradientSums backward_piece(const float* x, const float* dy, std::int64_t count, const Piece& piece,
                            float* dx) {
  constexpr std::int64_t kBlock = 4096;
  const Floats d;
  const float low_edge = static_cast<float>(piece.format.range.qmin);
  const float high_edge = static_cast<float>(piece.format.range.qmax);
  const float zero_point = static_cast<float>(piece.format.zero_point);
  const auto inverse = hn::Set(d, piece.inverse);
  const auto zero = hn::Set(d, zero_point);
  const auto low = hn::Set(d, low_edge);
  const auto high = hn::Set(d, high_edge);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  const auto total_of = [&d](auto lanes) {
    return static_cast<double>(hn::GetLane(hn::SumOfLanes(d, lanes)));
  };
  GradientSums total;
  std::int64_t i = 0;
  while (i + step <= count) {
    const std::int64_t end = std::min(count, i + kBlock);
    auto inner = hn::Zero(d);
    auto under = hn::Zero(d);
    auto over = hn::Zero(d);
    for (; i + step <= end; i += step) {
      const auto v = hn::Add(hn::Mul(hn::LoadU(d, x + i), inverse), zero);
      const auto gradient = hn::LoadU(d, dy + i);
      const auto is_under = hn::Lt(v, low);
      const auto is_over = hn::Gt(v, high);
      const auto inside = hn::AndNot(is_over, hn::Not(is_under));
      const auto passed = hn::IfThenElseZero(inside, gradient);
      // Outside v may be infinite, so it is clamped before the subtraction.
      const auto near = hn::Min(hn::Max(v, low), high);
      inner = hn::Add(inner, hn::Mul(passed, hn::Sub(hn::Round(near), near)));
      under = hn::Add(under, hn::IfThenElseZero(is_under, gradient));
      over = hn::Add(over, hn::IfThenElseZero(is_over, gradient));
      if (dx != nullptr) hn::StoreU(passed, d, dx + i);
    }
    total.inside += total_of(inner);
    total.below += total_of(under);
    total.above += total_of(over);
    if (i + step > count) break;
  }
  for (; i < count; ++i) {
    const float v = x[i] * piece.inverse + zero_point;
    const float gradient = dy[i];
    const bool inside = !(v < low_edge) && !(v > high_edge);
    if (inside) {
      total.inside += static_cast<double>(gradient) * static_cast<double>(std::nearbyintf(v) - v);
    } else {
      (v < low_edge ? total.below : total.above) += static_cast<double>(gradient);
    }
    if (dx != nullptr) dx[i] = inside ? gradient : 0.0F;
  }
  return total;
}

MinMax min_max_piece(const float* x, std::int64_t count) {
  const Floats d;
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  MinMax result{x[0], x[0]};
  float poison = 0.0F;  // x * 0 is NaN where x is NaN or infinite
  std::int64_t i = 0;
  if (count >= step) {
    auto low = hn::LoadU(d, x);
    auto high = low;
    auto bad = hn::Mul(low, hn::Zero(d));
    for (i = step; i + step <= count; i += step) {
      const auto v = hn::LoadU(d, x + i);
      low = hn::Min(low, v);
      high = hn::Max(high, v);
      bad = hn::Add(bad, hn::Mul(v, hn::Zero(d)));
    }
    result = {hn::GetLane(hn::MinOfLanes(d, low)), hn::GetLane(hn::MaxOfLanes(d, high))};
    poison = hn::GetLane(hn::SumOfLanes(d, bad));
  }
  for (; i < count; ++i) {
    result.min = std::min(result.min, x[i]);
    result.max = std::max(result.max, x[i]);
    poison += x[i] * 0.0F;
  }
  // poison is 0 or NaN, so it leaves finite ends as they are.
  return {result.min + poison, result.max + poison};
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(quantize_piece);
HWY_EXPORT(dequantize_piece);
HWY_EXPORT(residual_piece);
HWY_EXPORT(fake_quantize_piece);
HWY_EXPORT(backward_piece);
HWY_EXPORT(min_max_piece);

// Elements below which one thread does all.
constexpr std::int64_t kGrain = 16384;
constexpr int kMostPieces = 256;

// Runs body(begin, end, piece, slot) over contiguous runs of one scale. One row is cut into
// threads() runs, several rows are dealt out whole.
template <typename Body>
void for_each_run(const RowsFormat& rows, const Body& body) {
  apply_highway_cap();
  const auto piece_of = [&rows](std::int64_t row) {
    const float scale = rows.scale[rows.scale_per_row ? row : 0];
    return Piece{scale, 1.0F / scale, rows.format};
  };
  if (!rows.scale_per_row || rows.rows == 1) {
    parallel_for(rows.rows * rows.cols, kGrain,
                 [&](std::int64_t begin, std::int64_t end, int slot) {
                   body(begin, end, piece_of(0), std::int64_t{slot});
                 });
    return;
  }
  const std::int64_t grain =
      std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, rows.cols));
  parallel_for(rows.rows, grain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      body(row * rows.cols, (row + 1) * rows.cols, piece_of(row), row);
    }
  });
}

const void* code_pointer(const void* codes, std::int64_t i) {
  return static_cast<const std::uint8_t*>(codes) + i;
}
void* code_pointer(void* codes, std::int64_t i) { return static_cast<std::uint8_t*>(codes) + i; }

}  // namespace

void quantize(const float* x, const RowsFormat& rows, void* codes) noexcept {
  for_each_run(rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(quantize_piece)(x + begin, end - begin, piece, code_pointer(codes, begin));
  });
}

void dequantize(const void* codes, const RowsFormat& rows, float* y) noexcept {
  for_each_run(rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(dequantize_piece)
    (code_pointer(codes, begin), nullptr, end - begin, piece, y + begin);
  });
}

void add_dequantized(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept {
  for_each_run(rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(dequantize_piece)
    (code_pointer(codes, begin), a + begin, end - begin, piece, y + begin);
  });
}

void add_residual(const float* a, const void* codes, const RowsFormat& rows, float* y) noexcept {
  for_each_run(rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(residual_piece)
    (code_pointer(codes, begin), a + begin, end - begin, piece, y + begin);
  });
}

void fake_quantize(const float* x, const RowsFormat& rows, float* y) noexcept {
  for_each_run(rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t) {
    HWY_DYNAMIC_DISPATCH(fake_quantize_piece)(x + begin, end - begin, piece, y + begin);
  });
}

void fake_quantize_backward(const float* x, const float* dy, const RowsFormat& rows, float* dx,
                            GradientSums* sums) noexcept {
  const bool per_row = rows.scale_per_row && rows.rows > 1;
  std::array<GradientSums, kMostPieces> parts{};  // one a thread, added in order below
  for_each_run(
      rows, [&](std::int64_t begin, std::int64_t end, const Piece& piece, std::int64_t slot) {
        const GradientSums part = HWY_DYNAMIC_DISPATCH(backward_piece)(
            x + begin, dy + begin, end - begin, piece, dx == nullptr ? nullptr : dx + begin);
        if (!per_row) {
          parts[static_cast<std::size_t>(slot)] = part;
        } else if (sums != nullptr) {
          sums[slot] = part;
        }
      });
  if (sums == nullptr || per_row) return;
  sums[0] = {};
  for (const GradientSums& part : parts) {
    sums[0].inside += part.inside;
    sums[0].below += part.below;
    sums[0].above += part.above;
  }
}

MinMax min_max(const float* x, std::int64_t count) noexcept {
  apply_highway_cap();
  std::array<MinMax, kMostPieces> parts;
  parts.fill({x[0], x[0]});
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int slot) {
    parts[static_cast<std::size_t>(slot)] =
        HWY_DYNAMIC_DISPATCH(min_max_piece)(x + begin, end - begin);
  });
  MinMax result = parts[0];
  float poison = 0.0F;
  for (const MinMax& part : parts) {
    result.min = std::min(result.min, part.min);
    result.max = std::max(result.max, part.max);
    poison += part.min * 0.0F;
  }
  return {result.min + poison, result.max + poison};
}

void min_max_rows(const float* x, std::int64_t rows, std::int64_t cols, MinMax* out) noexcept {
  if (rows == 1) {
    out[0] = min_max(x, cols);
    return;
  }
  apply_highway_cap();
  parallel_for(rows, std::max<std::int64_t>(1, kGrain / cols),
               [&](std::int64_t begin, std::int64_t end, int) {
                 for (std::int64_t row = begin; row < end; ++row) {
                   out[row] = HWY_DYNAMIC_DISPATCH(min_max_piece)(x + row * cols, cols);
                 }
               });
}

}  // namespace bitloom::kernels
#endif
