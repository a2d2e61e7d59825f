#include "average_codes.h"

#include <cmath>

#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "average_codes.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// Sum of the codes of channel c, +128 each where they are flipped.
std::int32_t sum_of_channel(const AverageWindow& window, std::int64_t c) {
  std::int32_t sum = 0;
  for (std::int64_t y = 0; y < window.rows; ++y) {
    const std::uint8_t* at = window.first + y * window.row_step + c;
    for (std::int64_t x = 0; x < window.columns; ++x, at += window.column_step) {
      sum += *at ^ window.flip;
    }
  }
  return sum;
}

void run_window(const AverageWindow& window, std::int64_t begin, std::int64_t end,
                std::uint8_t* to) {
  // s8 codes are averaged as code + 128: an even shift of the mean keeps ties to even.
  const std::int32_t padding =
      window.padding +
      (window.flip == 0
           ? 0
           : 128 * (window.count - static_cast<std::int32_t>(window.rows * window.columns)));
  const auto count = static_cast<float>(window.count);
  std::int64_t c = begin;
#if HWY_TARGET != HWY_SCALAR && !HWY_HAVE_SCALABLE
  const hn::ScalableTag<std::uint16_t> d16;
  const hn::Half<decltype(d16)> d16_half;
  const hn::Rebind<std::uint8_t, decltype(d16)> d8;
  const hn::Rebind<std::int32_t, decltype(d16_half)> d32;
  const hn::Rebind<float, decltype(d32)> df;
  const hn::Rebind<std::uint8_t, decltype(d32)> d8_half;
  const auto lanes = static_cast<std::int64_t>(hn::Lanes(d16));
  const auto flip = hn::Set(d8, window.flip);
  const auto divisor = hn::Set(df, count);
  const auto extra = hn::Set(d32, padding);
  const auto flip_half = hn::Set(d8_half, window.flip);
  for (; c + lanes <= end; c += lanes) {
    auto sums = hn::Zero(d16);
    for (std::int64_t y = 0; y < window.rows; ++y) {
      const std::uint8_t* at = window.first + y * window.row_step + c;
      for (std::int64_t x = 0; x < window.columns; ++x, at += window.column_step) {
        sums = hn::Add(sums, hn::PromoteTo(d16, hn::Xor(hn::LoadU(d8, at), flip)));
      }
    }
    const auto low = hn::Add(hn::PromoteTo(d32, hn::LowerHalf(d16_half, sums)), extra);
    const auto high = hn::Add(hn::PromoteTo(d32, hn::UpperHalf(d16_half, sums)), extra);
    const auto mean_low = hn::NearestInt(hn::Div(hn::ConvertTo(df, low), divisor));
    const auto mean_high = hn::NearestInt(hn::Div(hn::ConvertTo(df, high), divisor));
    hn::StoreU(hn::Xor(hn::DemoteTo(d8_half, mean_low), flip_half), d8_half, to + c);
    hn::StoreU(hn::Xor(hn::DemoteTo(d8_half, mean_high), flip_half), d8_half, to + c + lanes / 2);
  }
#endif
  for (; c < end; ++c) {
    const auto sum = static_cast<float>(sum_of_channel(window, c) + padding);
    to[c] = static_cast<std::uint8_t>(static_cast<int>(std::nearbyint(sum / count)) ^ window.flip);
  }
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(run_window);
}  // namespace

void average_window(const AverageWindow& window, std::int64_t begin, std::int64_t end,
                    std::uint8_t* to) noexcept {
  HWY_DYNAMIC_DISPATCH(run_window)(window, begin, end, to);
}

}  // namespace bitloom::kernels
#endif
