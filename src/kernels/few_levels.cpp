#include "bitloom/kernels/few_levels.h"

#include <algorithm>
#include <cmath>

#include "channel_pieces.h"

#ifndef BITLOOM_APPROX_SIGN_PART
#define BITLOOM_APPROX_SIGN_PART
namespace bitloom::kernels {
// One thread's rows; compiled once, used by every target below.
struct SignPart {
  const float* x;
  const float* threshold;  // [channels]
  std::int64_t rows;
  std::int64_t channels;
  std::int8_t* codes;
};
struct ApproxSignPart {
  ApproxSignGradient of;
  std::int64_t rows;
  std::int64_t channels;
  double* sums;  // [channels], 0 at first; or nullptr
};
}  // namespace bitloom::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "few_levels.cpp"
#include <hwy/cache_control.h>
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

using Floats = hn::ScalableTag<float>;
using Ints = hn::RebindToSigned<Floats>;
using Bytes = hn::Rebind<std::int8_t, Floats>;

void sign_piece(const float* x, std::int64_t count, std::int8_t* codes) {
  const Floats d;
  const Ints d_int;
  const auto plus = hn::Set(d_int, 1);
  const auto minus = hn::Set(d_int, -1);
  const auto zero = hn::Zero(d);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto above = hn::RebindMask(d_int, hn::Ge(hn::LoadU(d, x + i), zero));
    hn::StoreU(hn::DemoteTo(Bytes(), hn::IfThenElse(above, plus, minus)), Bytes(), codes + i);
  }
  for (; i < count; ++i) codes[i] = x[i] >= 0.0F ? 1 : -1;
}

// One tile and one block of channels, a threshold each.
struct SignBlock {
  SignPart part;
  std::int64_t first;
  std::int64_t last;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) const {
    one_by_one(d, vectors, part.x, part.channels, first, last, channel,
               [&](std::int64_t at) HWY_ATTR { (*this)(d, Vectors<1>(), at); });
  }
  template <class D>
  HWY_INLINE void operator()(D d, Vectors<1> /*vectors*/, std::int64_t channel) const {
    const hn::RebindToSigned<D> d_int;
    const hn::Rebind<std::int8_t, D> d_byte;
    const auto plus = hn::Set(d_int, 1);
    const auto minus = hn::Set(d_int, -1);
    const auto limit = hn::LoadU(d, part.threshold + channel);
    for (std::int64_t row = first; row < last; ++row) {
      const std::int64_t i = row * part.channels + channel;
      const auto above = hn::RebindMask(d_int, hn::Ge(hn::LoadU(d, part.x + i), limit));
      hn::StoreU(hn::DemoteTo(d_byte, hn::IfThenElse(above, plus, minus)), d_byte, part.codes + i);
    }
  }
};

void sign_part(const SignPart& part) {
  const PartTile<SignBlock, SignPart> tile{part};
  for_each_tile(part.rows, false, tile);
}

void ternary_piece(const float* x, float threshold, std::int64_t count, std::int8_t* codes) {
  const Floats d;
  const Ints d_int;
  const auto plus = hn::Set(d_int, 1);
  const auto minus = hn::Set(d_int, -1);
  const auto high = hn::Set(d, threshold);
  const auto low = hn::Set(d, -threshold);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto value = hn::LoadU(d, x + i);
    const auto above = hn::RebindMask(d_int, hn::Gt(value, high));
    const auto below = hn::RebindMask(d_int, hn::Lt(value, low));
    const auto code = hn::IfThenElse(above, plus, hn::IfThenElseZero(below, minus));
    hn::StoreU(hn::DemoteTo(Bytes(), code), Bytes(), codes + i);
  }
  for (; i < count; ++i) {
    codes[i] = static_cast<std::int8_t>(x[i] > threshold ? 1 : (x[i] < -threshold ? -1 : 0));
  }
}

void hardtanh_piece(const float* x, const float* dy, std::int64_t count, float* dx) {
  const Floats d;
  const auto one = hn::Set(d, 1.0F);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  std::int64_t i = 0;
  for (; i + step <= count; i += step) {
    const auto inside = hn::Le(hn::Abs(hn::LoadU(d, x + i)), one);
    hn::StoreU(hn::IfThenElseZero(inside, hn::LoadU(d, dy + i)), d, dx + i);
  }
  for (; i < count; ++i) {
    const float gradient = dy[i];
    dx[i] = std::fabs(x[i]) <= 1.0F ? gradient : 0.0F;
  }
}

// One tile and one block of channels.
struct ApproxSignBlock {
  ApproxSignPart part;
  std::int64_t first;
  std::int64_t last;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> vectors, std::int64_t channel) const {
    one_by_one(d, vectors, part.of.x, part.channels, first, last, channel,
               [&](std::int64_t at) HWY_ATTR { (*this)(d, Vectors<1>(), at); });
  }
  template <class D>
  HWY_INLINE void operator()(D d, Vectors<1> /*vectors*/, std::int64_t channel) const {
    const ApproxSignGradient of = part.of;
    const auto two = hn::Set(d, 2.0F);
    const auto limit = of.threshold == nullptr ? hn::Zero(d) : hn::LoadU(d, of.threshold + channel);
    auto sum = hn::Zero(d);
    for (std::int64_t row = last; row-- > first;) {
      const std::int64_t i = row * part.channels + channel;
      hwy::Prefetch(of.x + i - kAhead * part.channels);
      const auto distance = hn::Abs(hn::Sub(hn::LoadU(d, of.x + i), limit));
      const auto slope = hn::Max(hn::Zero(d), hn::Sub(two, hn::Mul(two, distance)));
      const auto gradient = hn::Mul(load_terms(d, of.dy, i), slope);
      sum = hn::Add(sum, gradient);
      if (of.adds) {
        float* at = static_cast<float*>(of.dx.at) + i;
        hn::StoreU(hn::Add(hn::LoadU(d, at), gradient), d, at);
      } else if (of.dx.at != nullptr) {
        store_gradient(d, gradient, of.dx.at, of.dx.dtype, false, i);
      }
    }
    if (part.sums != nullptr) add_lanes(d, sum, part.sums + channel);
  }
};

void approx_sign_part(const ApproxSignPart& part) {
  const PartTile<ApproxSignBlock, ApproxSignPart> tile{part};
  for_each_tile(part.rows, true, tile);
}

// threshold < 0 takes all elements.
MagnitudeSum magnitude_piece(const float* x, float threshold, std::int64_t count) {
  constexpr std::int64_t kBlock = 4096;
  const Floats d;
  const Ints d_int;
  const auto limit = hn::Set(d, threshold);
  const auto step = static_cast<std::int64_t>(hn::Lanes(d));
  MagnitudeSum total;
  std::int64_t i = 0;
  while (i + step <= count) {
    const std::int64_t end = std::min(count, i + kBlock);
    auto sum = hn::Zero(d);
    auto above = hn::Zero(d_int);
    for (; i + step <= end; i += step) {
      const auto magnitude = hn::Abs(hn::LoadU(d, x + i));
      const auto counts = hn::Gt(magnitude, limit);
      sum = hn::Add(sum, hn::IfThenElseZero(counts, magnitude));
      above = hn::Sub(above, hn::VecFromMask(d_int, hn::RebindMask(d_int, counts)));
    }
    total.sum += static_cast<double>(hn::GetLane(hn::SumOfLanes(d, sum)));
    total.count += hn::GetLane(hn::SumOfLanes(d_int, above));
  }
  for (; i < count; ++i) {
    const float magnitude = std::fabs(x[i]);
    if (!(magnitude > threshold)) continue;
    total.sum += static_cast<double>(magnitude);
    ++total.count;
  }
  return total;
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {

HWY_EXPORT(sign_piece);
HWY_EXPORT(sign_part);
HWY_EXPORT(ternary_piece);
HWY_EXPORT(hardtanh_piece);
HWY_EXPORT(approx_sign_part);
HWY_EXPORT(magnitude_piece);

constexpr std::int64_t kGrain = 16384;  // elements below which one thread does all

std::int64_t rows_grain(std::int64_t cols) {
  return std::max<std::int64_t>(1, kGrain / std::max<std::int64_t>(1, cols));
}

}  // namespace

void sign_codes(const float* x, const SignRows& rows, std::int8_t* codes) noexcept {
  apply_highway_cap();
  if (rows.threshold == nullptr) {
    parallel_for(rows.rows * rows.cols, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(sign_piece)(x + begin, end - begin, codes + begin);
    });
    return;
  }
  parallel_for(rows.rows, rows_grain(rows.cols), [&](std::int64_t begin, std::int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(sign_part)
    ({.x = x + begin * rows.cols,
      .threshold = rows.threshold,
      .rows = end - begin,
      .channels = rows.cols,
      .codes = codes + begin * rows.cols});
  });
}

void ternary_codes(const float* x, const TernaryRows& rows, std::int8_t* codes) noexcept {
  apply_highway_cap();
  if (!rows.threshold_per_row) {
    parallel_for(rows.rows * rows.cols, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
      HWY_DYNAMIC_DISPATCH(ternary_piece)
      (x + begin, rows.threshold[0], end - begin, codes + begin);
    });
    return;
  }
  parallel_for(rows.rows, rows_grain(rows.cols), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t at = row * rows.cols;
      HWY_DYNAMIC_DISPATCH(ternary_piece)(x + at, rows.threshold[row], rows.cols, codes + at);
    }
  });
}

void hardtanh_gradient(const float* x, const float* dy, std::int64_t count, float* dx) noexcept {
  apply_highway_cap();
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    HWY_DYNAMIC_DISPATCH(hardtanh_piece)(x + begin, dy + begin, end - begin, dx + begin);
  });
}

void approx_sign_gradient(const ApproxSignGradient& of, const ChannelRows& size,
                          std::byte* scratch) noexcept {
  for_each_channel_piece(size, [&](std::int64_t piece, std::int64_t row, std::int64_t end) {
    const std::int64_t at = row * size.channels;
    ApproxSignPart part{.of = of, .rows = end - row, .channels = size.channels, .sums = nullptr};
    part.of.x += at;
    part.of.dy = from_element(of.dy, at);
    part.of.dx = from_element(of.dx, at);
    if (of.sums != nullptr) {
      part.sums = piece_sums(scratch, size, piece);
      std::fill_n(part.sums, size.channels, 0.0);
    }
    HWY_DYNAMIC_DISPATCH(approx_sign_part)(part);
  });
  if (of.sums != nullptr) join_sums(scratch, size, 0, 1.0, of.sums);
}

void magnitude_sums(const float* x, const TernaryRows& rows, MagnitudeSum* out) noexcept {
  apply_highway_cap();
  parallel_for(rows.rows, rows_grain(rows.cols), [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const float threshold =
          rows.threshold == nullptr ? -1.0F : rows.threshold[rows.threshold_per_row ? row : 0];
      out[row] = HWY_DYNAMIC_DISPATCH(magnitude_piece)(x + row * rows.cols, threshold, rows.cols);
    }
  });
}

}  // namespace bitloom::kernels
#endif
