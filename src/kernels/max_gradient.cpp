#include "max_gradient.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "max_gradient.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

#include "bf16_vectors-inl.h"
#include "channel_blocks-inl.h"

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {

struct MaxGradientBlocks {
  const MaxGradientPixel& windows;
  void* dx;

  template <class D, int kCount>
  HWY_INLINE void operator()(D d, Vectors<kCount> /*vectors*/, std::int64_t channel) const {
    for (int k = 0; k < kCount; ++k) {
      add_windows(d, channel + k * static_cast<std::int64_t>(hn::Lanes(d)));
    }
  }

  template <class D>
  HWY_INLINE void add_windows(D d, std::int64_t channel) const {
    const hn::RebindToSigned<D> d_int;
    const hn::Rebind<std::uint8_t, D> d_byte;
    auto sum = hn::Zero(d);
    for (std::int64_t row = 0; row < windows.rows; ++row) {
      for (std::int64_t column = 0; column < windows.columns; ++column) {
        const std::int64_t at = row * windows.row_step + column * windows.column_step + channel;
        const std::int64_t position = windows.position - row * windows.position_row_step -
                                      column * windows.position_column_step;
        const auto where = hn::PromoteTo(d_int, hn::LoadU(d_byte, windows.argmax + at));
        const auto is_here = hn::Eq(where, hn::Set(d_int, static_cast<std::int32_t>(position)));
        auto gradient = load_gradient(d, windows.gradient, windows.from, at);
        if (windows.second != nullptr) {
          gradient = hn::Add(gradient, load_gradient(d, windows.second, windows.from, at));
        }
        sum = hn::Add(sum, hn::IfThenElseZero(hn::RebindMask(d, is_here), gradient));
      }
    }
    // One term of one window: rounded already, if dy is.
    const bool one = windows.second == nullptr && windows.rows * windows.columns <= 1;
    store_gradient(d, sum, dx, windows.to, one && windows.from == DType::kBf16, channel);
  }
};

void max_gradient(const MaxGradientPixel& windows, std::int64_t channels, void* dx) {
  MaxGradientBlocks blocks{windows, dx};
  for_each_block(channels, blocks);
}

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(max_gradient);
}  // namespace

void max_gradient_pixel(const MaxGradientPixel& windows, std::int64_t channels, void* dx) noexcept {
  HWY_DYNAMIC_DISPATCH(max_gradient)(windows, channels, dx);
}

}  // namespace bitloom::kernels
#endif
