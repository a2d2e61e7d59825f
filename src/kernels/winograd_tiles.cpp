#include "winograd_tiles.h"

#include <algorithm>

#include "bitloom/kernels/highway.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "winograd_tiles.cpp"
#include <hwy/foreach_target.h>  // IWYU pragma: keep
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace bitloom::kernels::HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

constexpr int kSide = kWinogradSide;
constexpr int kPositions = kWinogradPositions;
constexpr std::int64_t kLine = kWinogradLine;
constexpr std::int64_t kGroup = kWinogradGroup;
constexpr std::int64_t kGroupLine = kWinogradGroupLine;

using D = hn::CappedTag<float, kWinogradLine>;
using V = hn::Vec<D>;
constexpr int kLanes = static_cast<int>(hn::MaxLanes(D()));

// The points are 0, 1, -1, 2, -2 and infinity.

// B^T d
HWY_INLINE void read_six(const V* d, V* out) {
  const D t;
  const V four = hn::Set(t, 4.0F), five = hn::Set(t, 5.0F), two = hn::Set(t, 2.0F);
  const V even = hn::NegMulAdd(four, d[2], d[4]), odd = hn::NegMulAdd(four, d[1], d[3]);
  const V even2 = hn::Sub(d[4], d[2]), odd2 = hn::Sub(d[3], d[1]);
  out[0] = hn::MulAdd(four, d[0], hn::NegMulAdd(five, d[2], d[4]));
  out[1] = hn::Add(even, odd);
  out[2] = hn::Sub(even, odd);
  out[3] = hn::MulAdd(two, odd2, even2);
  out[4] = hn::NegMulAdd(two, odd2, even2);
  out[5] = hn::MulAdd(four, d[1], hn::NegMulAdd(five, d[3], d[5]));
}

// A^T m
template <int kOut>
HWY_INLINE void write_six(const V* m, V* out) {
  const D t;
  const V two = hn::Set(t, 2.0F);
  const V even1 = hn::Add(m[1], m[2]), odd1 = hn::Sub(m[1], m[2]);
  const V even2 = hn::Add(m[3], m[4]), odd2 = hn::Sub(m[3], m[4]);
  out[0] = hn::Add(m[0], hn::Add(even1, even2));
  if constexpr (kOut == 2) {
    out[1] = hn::Add(hn::MulAdd(two, odd2, odd1), m[5]);
  } else {
    out[1] = hn::MulAdd(two, odd2, odd1);
    out[2] = hn::MulAdd(hn::Set(t, 4.0F), even2, even1);
    out[3] = hn::Add(hn::MulAdd(hn::Set(t, 8.0F), odd2, odd1), m[5]);
  }
}

// A y
template <int kOut>
HWY_INLINE void spread_six(const V* y, V* out) {
  const D t;
  const V two = hn::Set(t, 2.0F);
  out[0] = y[0];
  if constexpr (kOut == 2) {
    out[1] = hn::Add(y[0], y[1]);
    out[2] = hn::Sub(y[0], y[1]);
    out[3] = hn::MulAdd(two, y[1], y[0]);
    out[4] = hn::NegMulAdd(two, y[1], y[0]);
    out[5] = y[1];
  } else {
    const V four = hn::Set(t, 4.0F);
    const V even1 = hn::Add(y[0], y[2]), odd1 = hn::Add(y[1], y[3]);
    const V even2 = hn::MulAdd(four, y[2], y[0]), odd2 = hn::MulAdd(four, y[3], y[1]);
    out[1] = hn::Add(even1, odd1);
    out[2] = hn::Sub(even1, odd1);
    out[3] = hn::MulAdd(two, odd2, even2);
    out[4] = hn::NegMulAdd(two, odd2, even2);
    out[5] = y[3];
  }
}

// G g
template <int kTaps>
HWY_INLINE void weigh_six(const V* g, V* out) {
  const D t;
  const V four = hn::Set(t, 4.0F);
  V even1 = hn::Add(g[0], g[2]), odd1 = g[1];
  V even2 = hn::MulAdd(four, g[2], g[0]), odd2 = hn::Add(g[1], g[1]);
  if constexpr (kTaps == 5) {
    even1 = hn::Add(even1, g[4]);
    odd1 = hn::Add(odd1, g[3]);
    even2 = hn::MulAdd(hn::Set(t, 16.0F), g[4], even2);
    odd2 = hn::MulAdd(hn::Set(t, 8.0F), g[3], odd2);
  }
  const V sixth = hn::Set(t, -1.0F / 6.0F), of24 = hn::Set(t, 1.0F / 24.0F);
  out[0] = hn::Mul(hn::Set(t, 0.25F), g[0]);
  out[1] = hn::Mul(sixth, hn::Add(even1, odd1));
  out[2] = hn::Mul(sixth, hn::Sub(even1, odd1));
  out[3] = hn::Mul(of24, hn::Add(even2, odd2));
  out[4] = hn::Mul(of24, hn::Sub(even2, odd2));
  out[5] = g[kTaps - 1];
}

// G^T v
template <int kTaps>
HWY_INLINE void gather_six(const V* v, V* out) {
  const D t;
  const V sixth = hn::Set(t, -1.0F / 6.0F), of24 = hn::Set(t, 1.0F / 24.0F);
  const V two = hn::Set(t, 2.0F), four = hn::Set(t, 4.0F);
  const V even1 = hn::Mul(sixth, hn::Add(v[1], v[2])), odd1 = hn::Mul(sixth, hn::Sub(v[1], v[2]));
  const V even2 = hn::Mul(of24, hn::Add(v[3], v[4])), odd2 = hn::Mul(of24, hn::Sub(v[3], v[4]));
  out[0] = hn::MulAdd(hn::Set(t, 0.25F), v[0], hn::Add(even1, even2));
  out[1] = hn::MulAdd(two, odd2, odd1);
  const V third = hn::MulAdd(four, even2, even1);
  if constexpr (kTaps == 3) {
    out[2] = hn::Add(third, v[5]);
  } else {
    out[2] = third;
    out[3] = hn::MulAdd(hn::Set(t, 8.0F), odd2, odd1);
    out[4] = hn::Add(hn::MulAdd(hn::Set(t, 16.0F), even2, even1), v[5]);
  }
}

// Both sides of a square of `kIn` x `kIn` vectors, load(row, column), to `kOut` x `kOut`,
// store(row, its values).
template <int kIn, int kOut, typename Load, typename Step, typename Store>
HWY_INLINE void both_sides(const Load& load, const Step& step, const Store& store) {
  V half[kOut * kIn];
  for (int column = 0; column < kIn; ++column) {
    V from[kIn], to[kOut];
    for (int row = 0; row < kIn; ++row) from[row] = load(row, column);
    step(from, to);
    for (int row = 0; row < kOut; ++row) half[row * kIn + column] = to[row];
  }
  for (int row = 0; row < kOut; ++row) {
    V to[kOut];
    step(half + row * kIn, to);
    store(row, to);
  }
}

HWY_INLINE V load_reals(const float* from, V /*zero_point*/) { return hn::LoadU(D(), from); }
template <typename Code>
HWY_INLINE V load_reals(const Code* from, V zero_point) {
  const hn::Rebind<Code, D> codes;
  const hn::Rebind<std::int32_t, D> ints;
  return hn::Sub(hn::ConvertTo(D(), hn::PromoteTo(ints, hn::LoadU(codes, from))), zero_point);
}

// Where a tile begins.
struct Corner {
  std::int64_t image, y, x;
};
HWY_INLINE Corner corner_of(const WinogradTiling& tiling, std::int64_t tile) {
  const std::int64_t row = tile / tiling.columns;
  return {row / tiling.rows, row % tiling.rows * tiling.step - tiling.pad,
          tile % tiling.columns * tiling.step - tiling.pad};
}

// 0 in a tile that does not exist, in all positions and lines.
HWY_INLINE void clear_tile(const WinogradBlock& to, float* group, std::int64_t lines) {
  for (int p = 0; p < kPositions; ++p) {
    for (std::int64_t line = 0; line < lines; ++line) {
      for (std::int64_t i = 0; i < kLine; i += kLanes) {
        hn::StoreU(hn::Zero(D()), D(), group + p * to.stride + line * kGroupLine + i);
      }
    }
  }
}

// Where the pixels of a tile lie, those outside of the image in `padding`.
template <typename T>
HWY_NOINLINE void find_pixels(const WinogradTiling& tiling, const T* images, const T* padding,
                              std::int64_t tile, const T** at) {
  const Corner corner = corner_of(tiling, tile);
  const T* image = images + corner.image * tiling.height * tiling.width * tiling.channels;
  for (int row = 0; row < kSide; ++row) {
    const std::int64_t y = corner.y + row;
    for (int column = 0; column < kSide; ++column) {
      const std::int64_t x = corner.x + column;
      const bool within = y >= 0 && y < tiling.height && x >= 0 && x < tiling.width;
      at[row * kSide + column] =
          within ? image + (y * tiling.width + x) * tiling.channels : padding;
    }
  }
}

template <typename T>
HWY_INLINE void read_tiles(const WinogradTiling& tiling, const WinogradSource& source,
                           std::int64_t begin, std::int64_t end, const WinogradBlock& to) {
  const V zero_point = hn::Set(D(), static_cast<float>(source.zero_point));
  const std::int64_t lines = tiling.lines();
  const std::int64_t stride = to.stride;
  for (std::int64_t tile = begin * kGroup; tile < end * kGroup; ++tile) {
    float* out = to.group(tile / kGroup, lines) + tile % kGroup * kLine;
    if (tile >= tiling.tiles) {
      clear_tile(to, out, lines);
      continue;
    }
    const T* at[kPositions];
    find_pixels(tiling, static_cast<const T*>(source.at), static_cast<const T*>(source.padding),
                tile, at);
    for (std::int64_t c = 0; c < tiling.channels; c += kLanes) {
      float* line = out + c / kLine * kGroupLine + c % kLine;
      both_sides<kSide, kSide>(
          [&](int row, int column) { return load_reals(at[row * kSide + column] + c, zero_point); },
          read_six,
          [&](int row, const V* values) {
            for (int column = 0; column < kSide; ++column) {
              hn::StoreU(values[column], D(), line + (row * kSide + column) * stride);
            }
          });
    }
  }
}

void read(const WinogradTiling& tiling, const WinogradSource& source, std::int64_t begin,
          std::int64_t end, const WinogradBlock& to) {
  switch (source.dtype) {
    case DType::kU8:
      return read_tiles<std::uint8_t>(tiling, source, begin, end, to);
    case DType::kS8:
      return read_tiles<std::int8_t>(tiling, source, begin, end, to);
    default:
      return read_tiles<float>(tiling, source, begin, end, to);
  }
}

template <int kOut>
HWY_INLINE void spread_tiles(const WinogradTiling& tiling, const float* from, std::int64_t begin,
                             std::int64_t end, const WinogradBlock& to) {
  const std::int64_t lines = tiling.lines();
  const std::int64_t stride = to.stride;
  for (std::int64_t tile = begin * kGroup; tile < end * kGroup; ++tile) {
    float* out = to.group(tile / kGroup, lines) + tile % kGroup * kLine;
    if (tile >= tiling.tiles) {
      clear_tile(to, out, lines);
      continue;
    }
    const Corner corner = corner_of(tiling, tile);
    const float* pixel =
        from +
        ((corner.image * tiling.height + corner.y) * tiling.width + corner.x) * tiling.channels;
    const std::int64_t rows = std::min<std::int64_t>(kOut, tiling.height - corner.y);
    const std::int64_t columns = std::min<std::int64_t>(kOut, tiling.width - corner.x);
    for (std::int64_t c = 0; c < tiling.channels; c += kLanes) {
      float* line = out + c / kLine * kGroupLine + c % kLine;
      both_sides<kOut, kSide>(
          [&](int y, int x) {
            const bool within = y < rows && x < columns;
            return within ? hn::LoadU(D(), pixel + (y * tiling.width + x) * tiling.channels + c)
                          : hn::Zero(D());
          },
          spread_six<kOut>,
          [&](int row, const V* values) {
            for (int column = 0; column < kSide; ++column) {
              hn::StoreU(values[column], D(), line + (row * kSide + column) * stride);
            }
          });
    }
  }
}

void spread(const WinogradTiling& tiling, const float* from, std::int64_t begin, std::int64_t end,
            const WinogradBlock& to) {
  if (tiling.step == 4) return spread_tiles<4>(tiling, from, begin, end, to);
  spread_tiles<2>(tiling, from, begin, end, to);
}

template <int kOut, bool kAdds>
HWY_INLINE void write_tiles(const WinogradTiling& tiling, const WinogradBlock& from,
                            std::int64_t begin, std::int64_t end, const WinogradResult& to) {
  const std::int64_t lines = tiling.lines();
  const std::int64_t stride = from.stride;
  const std::int64_t last = std::min(end * kGroup, tiling.tiles);
  for (std::int64_t tile = begin * kGroup; tile < last; ++tile) {
    const float* in = from.group(tile / kGroup, lines) + tile % kGroup * kLine;
    const Corner corner = corner_of(tiling, tile);
    float* pixel = to.at + ((corner.image * tiling.height + corner.y) * tiling.width + corner.x) *
                               tiling.channels;
    const std::int64_t rows = std::min<std::int64_t>(kOut, tiling.height - corner.y);
    const std::int64_t columns = std::min<std::int64_t>(kOut, tiling.width - corner.x);
    for (std::int64_t c = 0; c < tiling.channels; c += kLanes) {
      const float* line = in + c / kLine * kGroupLine + c % kLine;
      const V bias = to.bias == nullptr ? hn::Zero(D()) : hn::LoadU(D(), to.bias + c);
      both_sides<kSide, kOut>(
          [&](int row, int column) {
            return hn::LoadU(D(), line + (row * kSide + column) * stride);
          },
          write_six<kOut>,
          [&](int y, const V* values) {
            if (y >= rows) return;
            for (int x = 0; x < kOut; ++x) {
              if (x >= columns) return;
              float* at = pixel + (y * tiling.width + x) * tiling.channels + c;
              const V value = hn::Add(values[x], bias);
              hn::StoreU(kAdds ? hn::Add(hn::LoadU(D(), at), value) : value, D(), at);
            }
          });
    }
  }
}

template <int kOut>
HWY_INLINE void write_to(const WinogradTiling& tiling, const WinogradBlock& from,
                         std::int64_t begin, std::int64_t end, const WinogradResult& to) {
  if (to.adds) return write_tiles<kOut, true>(tiling, from, begin, end, to);
  write_tiles<kOut, false>(tiling, from, begin, end, to);
}

void write(const WinogradTiling& tiling, const WinogradBlock& from, std::int64_t begin,
           std::int64_t end, const WinogradResult& to) {
  if (tiling.step == 4) return write_to<4>(tiling, from, begin, end, to);
  write_to<2>(tiling, from, begin, end, to);
}

// `value(tap)` are the weights of a tap in the channels of a vector.
template <int kTaps, typename Value>
HWY_INLINE void weigh(const WinogradWeights& to, float* at, const Value& value) {
  both_sides<kTaps, kSide>([&](int u, int v) { return value(u * kTaps + v); }, weigh_six<kTaps>,
                           [&](int row, const V* values) {
                             for (int column = 0; column < kSide; ++column) {
                               hn::StoreU(values[column], D(),
                                          at + (row * kSide + column) * to.stride);
                             }
                           });
}

template <int kTaps>
HWY_INLINE void weights_forward_of(const WinogradKernel& kernel, const float* weight,
                                   std::int64_t first, std::int64_t last,
                                   const WinogradWeights& to) {
  const hn::RebindToSigned<D> ints;
  const std::int64_t one = kTaps * kTaps * kernel.inputs;  // of one output
  const auto outputs = hn::Mul(hn::Iota(ints, 0), hn::Set(ints, static_cast<std::int32_t>(one)));
  for (std::int64_t n = first * kLine; n < last * kLine; n += kLanes) {
    float* at = to.at + n / kLine * kernel.inputs * kLine + n % kLine;
    for (std::int64_t k = 0; k < kernel.inputs; ++k) {
      const float* from = weight + n * one + k;
      weigh<kTaps>(to, at + k * kLine, [&](int tap) {
        return hn::GatherIndex(D(), from + tap * kernel.inputs, outputs);
      });
    }
  }
}

void weights_forward(const WinogradKernel& kernel, const float* weight, std::int64_t first,
                     std::int64_t last, const WinogradWeights& to) {
  if (kernel.taps == 3) return weights_forward_of<3>(kernel, weight, first, last, to);
  weights_forward_of<5>(kernel, weight, first, last, to);
}

template <int kTaps>
HWY_INLINE void weights_backward_of(const WinogradKernel& kernel, const float* weight,
                                    std::int64_t first, std::int64_t last,
                                    const WinogradWeights& to) {
  for (std::int64_t n = first * kLine; n < last * kLine; n += kLanes) {
    float* at = to.at + n / kLine * kernel.outputs * kLine + n % kLine;
    for (std::int64_t k = 0; k < kernel.outputs; ++k) {
      const float* from = weight + k * kTaps * kTaps * kernel.inputs + n;
      weigh<kTaps>(to, at + k * kLine, [&](int tap) {
        return hn::LoadU(D(), from + (kTaps * kTaps - 1 - tap) * kernel.inputs);
      });
    }
  }
}

void weights_backward(const WinogradKernel& kernel, const float* weight, std::int64_t first,
                      std::int64_t last, const WinogradWeights& to) {
  if (kernel.taps == 3) return weights_backward_of<3>(kernel, weight, first, last, to);
  weights_backward_of<5>(kernel, weight, first, last, to);
}

template <int kTaps>
HWY_INLINE void weight_gradient_of(const WinogradKernel& kernel, const WinogradWeights& sums,
                                   float scale, std::int64_t begin, std::int64_t end,
                                   float* weight_gradient) {
  const V factor = hn::Set(D(), scale);
  for (std::int64_t o = begin; o < end; ++o) {
    for (std::int64_t c = 0; c < kernel.inputs; c += kLanes) {
      float* taps = weight_gradient + o * kTaps * kTaps * kernel.inputs + c;
      both_sides<kSide, kTaps>(
          [&](int row, int column) {
            return hn::LoadU(D(), sums.position(row * kSide + column) + o * kernel.inputs + c);
          },
          gather_six<kTaps>,
          [&](int u, const V* values) {
            for (int v = 0; v < kTaps; ++v) {
              hn::StoreU(hn::Mul(factor, values[v]), D(), taps + (u * kTaps + v) * kernel.inputs);
            }
          });
    }
  }
}

void weight_gradient(const WinogradKernel& kernel, const WinogradWeights& sums, float scale,
                     std::int64_t begin, std::int64_t end, float* to) {
  if (kernel.taps == 3) return weight_gradient_of<3>(kernel, sums, scale, begin, end, to);
  weight_gradient_of<5>(kernel, sums, scale, begin, end, to);
}

const char* target() { return hwy::TargetName(HWY_TARGET); }

}  // namespace bitloom::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace bitloom::kernels {
namespace {
HWY_EXPORT(read);
HWY_EXPORT(spread);
HWY_EXPORT(write);
HWY_EXPORT(weights_forward);
HWY_EXPORT(weights_backward);
HWY_EXPORT(weight_gradient);
HWY_EXPORT(target);
}  // namespace

void winograd_read(const WinogradTiling& tiling, const WinogradSource& source, std::int64_t begin,
                   std::int64_t end, const WinogradBlock& to) noexcept {
  HWY_DYNAMIC_DISPATCH(read)(tiling, source, begin, end, to);
}

void winograd_spread(const WinogradTiling& tiling, const float* from, std::int64_t begin,
                     std::int64_t end, const WinogradBlock& to) noexcept {
  HWY_DYNAMIC_DISPATCH(spread)(tiling, from, begin, end, to);
}

void winograd_write(const WinogradTiling& tiling, const WinogradBlock& from, std::int64_t begin,
                    std::int64_t end, const WinogradResult& to) noexcept {
  HWY_DYNAMIC_DISPATCH(write)(tiling, from, begin, end, to);
}

void winograd_weights_forward(const WinogradKernel& kernel, const float* weight, std::int64_t first,
                              std::int64_t last, const WinogradWeights& to) noexcept {
  HWY_DYNAMIC_DISPATCH(weights_forward)(kernel, weight, first, last, to);
}

void winograd_weights_backward(const WinogradKernel& kernel, const float* weight,
                               std::int64_t first, std::int64_t last,
                               const WinogradWeights& to) noexcept {
  HWY_DYNAMIC_DISPATCH(weights_backward)(kernel, weight, first, last, to);
}

void winograd_weight_gradient(const WinogradKernel& kernel, const WinogradWeights& sums,
                              float scale, std::int64_t begin, std::int64_t end,
                              float* weight_gradient_out) noexcept {
  HWY_DYNAMIC_DISPATCH(weight_gradient)(kernel, sums, scale, begin, end, weight_gradient_out);
}

const char* winograd_target() noexcept { return HWY_DYNAMIC_DISPATCH(target)(); }

}  // namespace bitloom::kernels
#endif
