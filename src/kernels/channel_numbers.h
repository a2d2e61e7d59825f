// What our int8 kernels derive from a layer's numbers per output channel, and from its clip.
// Goes to: depthwise_product.cpp, vnni_product.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/affine.h"

namespace bitloom::kernels {

/// Weights' sums, multipliers and biases.
class ChannelNumbers {
 public:
  explicit ChannelNumbers(std::int64_t channels)
      : sums_(static_cast<std::size_t>(channels)),
        sizes_(sums_.size()),
        multipliers_(sums_.size()),
        biases_(sums_.size()) {}

  /// `codes`: as many of each channel, one channel behind another.
  void set_weights(const std::int8_t* codes, std::int64_t of_each) {
    for (std::size_t c = 0; c < sums_.size(); ++c) {
      sums_[c] = 0;
      sizes_[c] = 0.0;
      for (std::int64_t i = 0; i < of_each; ++i) {
        const std::int32_t w = *codes++;
        sums_[c] += w;
        sizes_[c] += std::abs(w);
      }
    }
  }
  void set_scales(ConstTensorView multiplier, ConstTensorView bias) {
    std::copy_n(multiplier.data<float>(), multipliers_.size(), multipliers_.begin());
    std::copy_n(bias.data<float>(), biases_.size(), biases_.begin());
  }

  std::int32_t weight_sum(std::int64_t c) const { return sums_[static_cast<std::size_t>(c)]; }
  float multiplier(std::int64_t c) const { return multipliers_[static_cast<std::size_t>(c)]; }
  float bias(std::int64_t c) const { return biases_[static_cast<std::size_t>(c)]; }

  /// Whether some t (integer/requantize.h), and `more` beside it, may leave the range of s32.
  bool may_leave_s32(double more = 0.0) const {
    constexpr double kSafe = 1073741824.0;  // 2^30: rounds to an s32 whatever the last bits are
    double reach = 0.0;
    for (std::size_t c = 0; c < sizes_.size(); ++c) {
      reach = std::max(reach, 255.0 * sizes_[c] * std::abs(static_cast<double>(multipliers_[c])) +
                                  std::abs(static_cast<double>(biases_[c])));
    }
    return !(reach + more < kSafe);
  }

 private:
  std::vector<std::int32_t> sums_;
  std::vector<double> sizes_;  ///< sums of magnitudes
  std::vector<float> multipliers_, biases_;
};

/// The codes of s8 or u8 that a clip leaves.
inline integer::CodeRange codes_within(const integer::Clip& clip, bool is_signed) {
  const integer::CodeRange type =
      is_signed ? integer::CodeRange{-128, 127} : integer::CodeRange{0, 255};
  return {static_cast<std::int32_t>(std::max(clip.low, static_cast<float>(type.qmin))),
          static_cast<std::int32_t>(std::min(clip.high, static_cast<float>(type.qmax)))};
}

}  // namespace bitloom::kernels
