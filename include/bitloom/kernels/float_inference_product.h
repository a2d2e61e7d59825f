// One convolution or matrix product of reals with fused bias, residual and ReLU, planned once, run
// many times with the same weights.
// Comes from: backends/onednn, backends/onednn_bf16 (layers of mode float and weight-only).
#pragma once

#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Everything that decides the primitive. A linear layer has a weight of rank 2.
struct FloatInferenceProblem {
  Shape source;            ///< [N, C, H, W] or [N, I]
  Shape weight;            ///< [O, C/groups, KH, KW] or [O, I]
  integer::Window window;  ///< stride, pad and groups
  integer::Clip clip = {};
  bool residual = false;             ///< of the destination's shape and type, added before the clip
  DType source_dtype = DType::kF32;  ///< kF32 or kBf16; what the products multiply
  DType destination_dtype = DType::kF32;  ///< kF32, or kBf16 of bf16 sources
};

/// y = clipped(conv(x, w) + b (+ r)). Sums run in oneDNN's order: equal to the reference up to
/// rounding. Of bf16 sources the weights are rounded to bf16 once; sums, bias, residual and clip
/// stay f32, and a bf16 destination is rounded last.
class FloatInferenceProduct {
 public:
  /// @throws ShapeError if the shapes do not fit, BackendError if oneDNN has no implementation, or,
  ///         for bf16, none but its plain reference.
  explicit FloatInferenceProduct(const FloatInferenceProblem& problem);
  ~FloatInferenceProduct();
  FloatInferenceProduct(FloatInferenceProduct&&) noexcept;
  FloatInferenceProduct& operator=(FloatInferenceProduct&&) noexcept;

  /// weight f32 (OHWI memory), bias f32 [O]. Once per model.
  void set_weights(ConstTensorView weight, ConstTensorView bias);

  /// `residual` is empty unless the problem has one; it may be the destination's memory.
  void run(ConstTensorView source, ConstTensorView residual, TensorView destination);

  std::string implementation() const;  ///< oneDNN's impl_info_str
  Shape destination() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
