#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/kernels/elementwise_chain.h"

namespace bitloom::kernels::reference {
namespace {

float shortcut_at(const ElementwiseChain& chain, std::int64_t i) {
  if (chain.shortcut_dtype == DType::kF32) return static_cast<const float*>(chain.shortcut)[i];
  const std::int32_t code = chain.shortcut_dtype == DType::kU8
                                ? static_cast<const std::uint8_t*>(chain.shortcut)[i]
                                : static_cast<const std::int8_t*>(chain.shortcut)[i];
  return integer::dequantize(code, chain.shortcut_scale, chain.shortcut_zero_point);
}

float value_at(const ElementwiseChain& chain, std::int64_t i) {
  float x = chain.source[i];
  if (chain.mean != nullptr) {
    const std::int64_t c = i % chain.size.channels;
    x = (x - chain.mean[c]) * chain.slope[c];
    x += chain.shift[c];
  }
  if (chain.shortcut != nullptr) x += shortcut_at(chain, i);
  return chain.clips ? integer::clipped(x, chain.clip) : x;
}

std::int64_t elements_of(const ElementwiseChain& chain) {
  return chain.size.rows * chain.size.channels;
}

// dx of one element; adds to the grid's sums where somebody asks.
float gradient_at(const ElementwiseChain& chain, const float* dy, std::int64_t i,
                  GradientSums* grid) {
  if (!chain.quantizes && !chain.clips) return dy[i];
  const float x = chain.output != nullptr ? chain.output[i] : value_at(chain, i);
  float gradient = dy[i];
  if (chain.quantizes) {
    const float v = x * (1.0F / chain.scale) + static_cast<float>(chain.format.zero_point);
    const bool below = v < static_cast<float>(chain.format.range.qmin);
    const bool above = v > static_cast<float>(chain.format.range.qmax);
    if (grid != nullptr) {
      const auto part = static_cast<double>(gradient);
      if (!below && !above) grid->inside += part * static_cast<double>(std::nearbyintf(v) - v);
      if (below) grid->below += part;
      if (above) grid->above += part;
    }
    if (below || above) gradient = 0.0F;
  }
  if (chain.clips && !(x > chain.clip.low && x < chain.clip.high)) gradient = 0.0F;
  return gradient;
}

}  // namespace

void channel_statistics(const float* x, const ChannelRows& size, float* mean, float* variance,
                        MinMax* ranges, std::byte* /*scratch*/) noexcept {
  for (std::int64_t c = 0; c < size.channels; ++c) {
    double sum = 0.0;
    MinMax range{x[c], x[c]};
    for (std::int64_t row = 0; row < size.rows; ++row) {
      const float value = x[row * size.channels + c];
      sum += static_cast<double>(value);
      range = {std::min(range.min, value), std::max(range.max, value)};
    }
    const double middle = sum / static_cast<double>(size.rows);
    double squares = 0.0;
    for (std::int64_t row = 0; row < size.rows; ++row) {
      const double distance = static_cast<double>(x[row * size.channels + c]) - middle;
      squares += distance * distance;
    }
    mean[c] = static_cast<float>(middle);
    variance[c] = static_cast<float>(squares / static_cast<double>(size.rows));
    if (ranges != nullptr) ranges[c] = range;
  }
}

void chain_forward(const ElementwiseChain& chain, void* out) noexcept {
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    const float x = value_at(chain, i);
    if (!chain.quantizes) {
      static_cast<float*>(out)[i] = x;
    } else {
      const std::int32_t code = integer::quantize(x, 1.0F / chain.scale, chain.format);
      static_cast<std::uint8_t*>(out)[i] = static_cast<std::uint8_t>(code);
    }
  }
}

MinMax chain_range(const ElementwiseChain& chain, const MinMax* /*ranges*/) noexcept {
  MinMax range{std::numeric_limits<float>::max(), std::numeric_limits<float>::lowest()};
  float poison = 0.0F;
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    const float x = value_at(chain, i);
    range = {std::min(range.min, x), std::max(range.max, x)};
    poison += x * 0.0F;
  }
  return {range.min + poison, range.max + poison};
}

void chain_gradient_sums(const ElementwiseChain& chain, const float* dy, const ChainSums& sums,
                         std::byte* /*scratch*/) noexcept {
  std::fill(sums.shift, sums.shift + chain.size.channels, 0.0);
  std::fill(sums.slope, sums.slope + chain.size.channels, 0.0);
  if (sums.grid != nullptr) *sums.grid = {};
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    const std::int64_t c = i % chain.size.channels;
    const auto gradient = static_cast<double>(gradient_at(chain, dy, i, sums.grid));
    sums.shift[c] += gradient;
    sums.slope[c] += gradient * static_cast<double>(chain.source[i] - chain.mean[c]);
  }
}

void chain_backward(const ElementwiseChain& chain, const float* dy,
                    const ChainGradients& gradients) noexcept {
  if (gradients.grid != nullptr) *gradients.grid = {};
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    float gradient = gradient_at(chain, dy, i, gradients.grid);
    if (gradients.shortcut != nullptr) gradients.shortcut[i] = gradient;
    if (gradients.decay != nullptr) {
      const std::int64_t c = i % chain.size.channels;
      const float pull =
          gradients.decay[c] * (chain.source[i] - chain.mean[c]) + gradients.offset[c];
      gradient = chain.slope[c] * gradient - pull;
    }
    if (gradients.source != nullptr) gradients.source[i] = gradient;
  }
}

}  // namespace bitloom::kernels::reference
