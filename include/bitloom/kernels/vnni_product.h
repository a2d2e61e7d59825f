// One convolution of codes by our own VNNI kernel, planned once, run many times.
// Comes from: backends/own_kernels. Its plain reference: integer/reference.h.
#pragma once

#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/int8_product.h"

namespace bitloom::kernels {

/// Computes, bit for bit, integer/requantize.h over
///
///   acc[o, y, x] = sum over i, r, k of (source[i, s * y + r - p, s * x + k - p'] - z) *
///   w[o, i, r, k]
///
/// with source = z outside of the image. Six pixels by 64 output channels are summed in registers:
/// each load of the weights serves six pixels, each quad of codes 64 channels, and codes leave in
/// whole vectors. Nothing is copied into columns. Output pixels may lie apart, as in the memory of
/// a concatenation, where oneDNN 3.2's int8 convolutions cannot write.
class VnniProduct {
 public:
  /// @throws BackendError with the reason if the problem is none of: a convolution of one group,
  ///         at most 49 pixels in a window, input channels a multiple of 4, u8 codes to codes (u8
  ///         or s8) with a residual of codes or none, on a CPU with AVX-512 VNNI.
  explicit VnniProduct(const Int8Problem& problem);
  ~VnniProduct();
  VnniProduct(VnniProduct&&) noexcept;
  VnniProduct& operator=(VnniProduct&&) noexcept;

  /// s8 [O, I, KH, KW], OHWI memory.
  void set_weights(ConstTensorView weight_s8);
  /// f32 [O] each.
  void set_scales(ConstTensorView multiplier, ConstTensorView bias);
  void set_source_zero_point(std::int32_t zero_point);
  /// Needs problem.residual.
  void set_residual(float ratio, std::int32_t zero_point);

  /// Bytes from one output pixel to the next; at first they lie one behind another.
  void set_pitch(std::int64_t bytes);

  /// `destination`: where the first pixel goes. The residual is empty without one; it may be the
  /// destination.
  /// @pre weights and scales are set; the source shares no byte with the destination.
  void run(ConstTensorView source, ConstTensorView residual, TensorView destination) const noexcept;

  std::string implementation() const;  ///< "bitloom:vnni"
  Shape destination() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
