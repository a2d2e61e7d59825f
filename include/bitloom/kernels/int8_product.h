// One int8 convolution or matrix product on oneDNN, planned once, run many times.
// Comes from: backends/onednn (exported models), quant (integer forward of a QAT step).
#pragma once

#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Everything that decides the primitive. A linear layer is a product with window 1x1 on [N, I].
struct Int8Problem {
  Shape source;                     ///< [N, C, H, W] or [N, I]
  DType source_dtype = DType::kU8;  ///< kU8 or kS8
  bool source_zero_point = false;   ///< a zero point is passed to run()
  Shape weight;                     ///< [O, I/groups, KH, KW] or [O, I]
  integer::Window window;
  /// kU8, kS8, kF32; kS32 or kBf16 (rounded half to even) for bare accumulators.
  DType destination_dtype = DType::kU8;
  bool bias = true;                   ///< ignored for bare accumulators, as clip
  integer::Clip clip;                 ///< bounds of t: a range of codes, or of reals (kF32)
  bool residual = false;              ///< of residual_dtype, added before the clip
  DType residual_dtype = DType::kU8;  ///< codes; or kF32 of an f32 destination: t = t + r
  int choice = 0;  ///< of oneDNN's: 0 the one it prefers, 1 its next on the same instructions, ...
};

/// Computes, bit for bit, integer/requantize.h (kF32: clipped(t); kS32, kBf16: the accumulators).
/// Bounds that the destination's type has by itself cost nothing.
class Int8Product {
 public:
  /// @throws BackendError with oneDNN's reason if it has no exact implementation that is faster
  ///         than its plain reference ("ref" in the name declines).
  explicit Int8Product(const Int8Problem& problem);
  ~Int8Product();
  Int8Product(Int8Product&&) noexcept;
  Int8Product& operator=(Int8Product&&) noexcept;

  /// Reorders weight codes (s8, OHWI memory) into the primitive's layout; once per model or step.
  void set_weights(ConstTensorView weight_s8);
  /// f32 [O] each. In training they change with each step. bias may be empty if problem.bias is
  /// off.
  void set_scales(ConstTensorView multiplier, ConstTensorView bias);
  /// Needs problem.source_zero_point.
  void set_source_zero_point(std::int32_t zero_point);
  /// Needs problem.residual of codes; ratio = s_r / s_y. The post-op's scale is part of the
  /// primitive: a changed ratio plans it anew.
  void set_residual(float ratio, std::int32_t zero_point);

  /// `residual` has the destination's shape, or is empty.
  void run(ConstTensorView source, ConstTensorView residual, TensorView destination);

  std::string implementation() const;  ///< oneDNN's impl_info_str
  Shape destination() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
