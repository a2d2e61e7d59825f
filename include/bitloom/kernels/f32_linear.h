// One matrix product with a weight and f32 results on oneDNN, forward and both backward directions.
// Comes from: kernels/training_product.h, quant/rounding.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/f32_conv2d.h"

namespace bitloom::kernels {

/// Everything that decides the primitives.
struct F32LinearProblem {
  Shape source;                         ///< [N, I]
  Shape weight;                         ///< [O, I]
  bool bias = false;                    ///< f32
  DType operands = DType::kF32;         ///< as in F32Conv2dProblem
  DType source_gradient = DType::kF32;  ///< likewise
};

/// Forward:          y[n,o] = sum_i x[n,i] * w[o,i] + b[o]
/// Backward data:    dx[n,i] = sum_o dy[n,o] * w[o,i]
/// Backward weights: dw[o,i] = sum_n dy[n,o] * x[n,i];  db[o] = sum_n dy[n,o]
///
/// Calls, scratch and determinism are F32Conv2d's; all layouts are plain (see f32_linear.cpp).
class F32Linear {
 public:
  /// @throws BackendError if oneDNN has no implementation.
  F32Linear(const F32LinearProblem& problem, const F32Directions& directions);
  ~F32Linear();
  F32Linear(F32Linear&&) noexcept;
  F32Linear& operator=(F32Linear&&) noexcept;

  std::size_t scratch_bytes() const;
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);
  void backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                     TensorView source_gradient, std::byte* scratch);
  void backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                        TensorView weight_gradient, TensorView bias_gradient, std::byte* scratch);
  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
