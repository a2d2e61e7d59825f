// One 3x3 depthwise convolution of codes by our own vector kernel, planned once, run many times.
// Comes from: backends/own_kernels. Its plain reference: integer/reference.h.
#pragma once

#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/int8_product.h"

namespace bitloom::kernels {

/// Computes, bit for bit, integer/requantize.h over
///
///   acc[c, y, x] = sum over r, k in 0 .. 2 of (source[c, s * y + r - p, s * x + k - p'] - z) *
///   w[c, r, k]
///
/// with source = z outside of the image. Four bytes of a column of pixels are one operand of the
/// product, so one load serves all outputs that the column takes part in: three along the row, and
/// at stride 1 two rows at once. Sums are 32 bits wide on every CPU (VPDPBUSD, or pairs of 16-bit
/// products): 8-bit weights are exact without VNNI too, and signed sources cost nothing but an xor.
class DepthwiseProduct {
 public:
  /// @throws BackendError with the reason if the problem is none of: one input and one output a
  ///         group, 16 channels or more, window 3x3, stride 1 or 2, codes (u8 or s8) to codes or
  ///         f32, without a residual; or if this CPU is no x86.
  explicit DepthwiseProduct(const Int8Problem& problem);
  ~DepthwiseProduct();
  DepthwiseProduct(DepthwiseProduct&&) noexcept;
  DepthwiseProduct& operator=(DepthwiseProduct&&) noexcept;

  /// s8 [C, 1, 3, 3].
  void set_weights(ConstTensorView weight_s8);
  /// f32 [C] each.
  void set_scales(ConstTensorView multiplier, ConstTensorView bias);
  void set_source_zero_point(std::int32_t zero_point);

  /// @pre weights and scales are set; source and destination have the problem's shapes and types
  ///      and share no byte.
  void run(ConstTensorView source, TensorView destination) const noexcept;

  std::string implementation() const;  ///< "bitloom:depthwise:AVX3_DL"
  Shape destination() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
