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

float summed_at(const ElementwiseChain& chain, std::int64_t i) {
  const std::int64_t c = i % chain.size.channels;
  float x = value_at(chain.source, i, c);
  if (chain.mean != nullptr) {
    x = (x - chain.mean[c]) * chain.slope[c];
    x += chain.shift[c];
  }
  return chain.shortcut == nullptr ? x : x + shortcut_at(chain, i);
}

float number_at(const float* numbers, std::int64_t c) {
  return numbers == nullptr ? 0.0F : numbers[c];
}

// What a rectifier compares with 0.
float rectified_from(const ElementwiseChain& chain, std::int64_t i) {
  return summed_at(chain, i) - number_at(chain.rectifier.threshold, i % chain.size.channels);
}

float value_at(const ElementwiseChain& chain, std::int64_t i) {
  if (chain.rectifies) {
    const std::int64_t c = i % chain.size.channels;
    const float v = rectified_from(chain, i);
    const float kept = v > 0.0F ? v : chain.rectifier.slope[c] * v;
    return kept + number_at(chain.rectifier.offset, c);
  }
  const float x = summed_at(chain, i);
  return chain.clips ? integer::clipped(x, chain.clip) : x;
}

float sign_threshold(const ElementwiseChain& chain, std::int64_t i) {
  return number_at(chain.sign_threshold, i % chain.size.channels);
}

// What the gradient of the sign of one element adds to dx.
float share_of_sign(const ElementwiseChain& chain, std::int64_t i) {
  const float x = chain.rectifies ? value_at(chain, i) : chain.output[i];
  const float distance = std::fabs(x - sign_threshold(chain, i));
  return gradient_at(chain.sign_gradient, i) * std::max(0.0F, 2.0F - 2.0F * distance);
}

std::int64_t elements_of(const ElementwiseChain& chain) {
  return chain.size.rows * chain.size.channels;
}

// dx of one element; adds to the grid's sums where somebody asks.
float dx_at(const ElementwiseChain& chain, const OutputGradient& dy, std::int64_t i,
            GradientSums* grid) {
  float gradient = gradient_at(dy, i);
  if (!chain.quantizes && !chain.clips) return gradient;
  const float x = chain.output != nullptr ? chain.output[i] : value_at(chain, i);
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

void channel_statistics(const ChannelValues& x, const ChannelRows& size, float* mean,
                        float* variance, MinMax* ranges, std::byte* /*scratch*/) noexcept {
  for (std::int64_t c = 0; c < size.channels; ++c) {
    double sum = 0.0;
    MinMax range{value_at(x, c, c), value_at(x, c, c)};
    for (std::int64_t row = 0; row < size.rows; ++row) {
      const float value = value_at(x, row * size.channels + c, c);
      sum += static_cast<double>(value);
      range = {std::min(range.min, value), std::max(range.max, value)};
    }
    const double middle = sum / static_cast<double>(size.rows);
    double squares = 0.0;
    for (std::int64_t row = 0; row < size.rows; ++row) {
      const float value = value_at(x, row * size.channels + c, c);
      const double distance = static_cast<double>(value) - middle;
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
      if (chain.signs) chain.sign_codes[i] = x >= sign_threshold(chain, i) ? 1 : -1;
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

void chain_gradient(const ElementwiseChain& chain, const OutputGradient& dy,
                    const ChainGradients& to, std::byte* /*scratch*/) noexcept {
  if (to.shift != nullptr) {
    for (double* sums : {to.shift, to.slope, to.signs, to.rectifier_slope, to.rectifier_offset}) {
      if (sums != nullptr) std::fill(sums, sums + chain.size.channels, 0.0);
    }
  }
  if (to.grid != nullptr) *to.grid = {};
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    float gradient = dx_at(chain, dy, i, to.grid);
    if (chain.signs) {
      const float share = share_of_sign(chain, i);
      gradient += share;
      to.signs[i % chain.size.channels] += static_cast<double>(share);
    }
    const std::int64_t c = i % chain.size.channels;
    if (chain.rectifies) {
      const float v = rectified_from(chain, i);
      to.rectifier_slope[c] += static_cast<double>(gradient * std::min(v, 0.0F));
      to.rectifier_offset[c] += static_cast<double>(gradient);
      if (!(v > 0.0F)) gradient *= chain.rectifier.slope[c];
    }
    if (to.shift != nullptr) {
      const float distance = value_at(chain.source, i, c) - chain.mean[c];
      to.shift[c] += static_cast<double>(gradient);
      to.slope[c] += static_cast<double>(gradient) * static_cast<double>(distance);
    }
    write_gradient(to.dx, i, gradient);
    write_gradient(to.again, i, gradient);
  }
}

void normalization_gradient(const ElementwiseChain& chain, const InputGradient& dx,
                            const NormalizationGradient& terms,
                            const InputGradient& dsource) noexcept {
  for (std::int64_t i = 0; i < elements_of(chain); ++i) {
    const std::int64_t c = i % chain.size.channels;
    const float distance = value_at(chain.source, i, c) - chain.mean[c];
    const float pull = terms.decay[c] * distance + terms.offset[c];
    write_gradient(dsource, i, terms.slope[c] * gradient_at(dx.at, dx.dtype, i) - pull);
  }
}

}  // namespace bitloom::kernels::reference
