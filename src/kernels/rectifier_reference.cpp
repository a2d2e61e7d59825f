#include <algorithm>

#include "bitloom/kernels/rectifier.h"

namespace bitloom::kernels::reference {
namespace {

float at(const float* values, std::int64_t c) { return values == nullptr ? 0.0F : values[c]; }

}  // namespace

void rectify(const float* x, const ChannelRows& size, const RectifierChannels& channels,
             float* y) noexcept {
  for (std::int64_t i = 0; i < size.rows * size.channels; ++i) {
    const std::int64_t c = i % size.channels;
    const float v = x[i] - at(channels.threshold, c);
    y[i] = (v > 0.0F ? v : channels.slope[c] * v) + at(channels.offset, c);
  }
}

void rectify_gradient(const float* x, const ChannelRows& size, const RectifierChannels& channels,
                      const OutputGradient& dy, const RectifierGradients& gradients,
                      const InputGradient& dx, std::byte* /*scratch*/) noexcept {
  for (std::int64_t c = 0; c < size.channels; ++c) {
    double slope = 0.0;
    double threshold = 0.0;
    double offset = 0.0;
    for (std::int64_t row = 0; row < size.rows; ++row) {
      const std::int64_t i = row * size.channels + c;
      const float v = x[i] - at(channels.threshold, c);
      const float gradient = gradient_at(dy, i);
      const float through = v > 0.0F ? gradient : gradient * channels.slope[c];
      slope += static_cast<double>(gradient * std::min(v, 0.0F));
      threshold -= static_cast<double>(through);
      offset += static_cast<double>(gradient);
      write_gradient(dx, i, through);
    }
    gradients.slope[c] = static_cast<float>(slope);
    if (gradients.threshold != nullptr) gradients.threshold[c] = static_cast<float>(threshold);
    if (gradients.offset != nullptr) gradients.offset[c] = static_cast<float>(offset);
  }
}

}  // namespace bitloom::kernels::reference
