// One convolution with f32 results on oneDNN, forward and both backward directions, planned once.
// Comes from: kernels/training_product.h, quant/rounding.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Everything that decides the primitives. Activations lie as NHWC, weights as OHWI.
struct F32Conv2dProblem {
  Shape source;            ///< [N, C, H, W]
  Shape weight;            ///< [O, C/groups, KH, KW]; gives the kernel's size
  integer::Window window;  ///< stride, pad and groups; its kernel is not read
  bool bias = false;       ///< f32
  /// Of source, weight and destination gradient: kF32 or kBf16. Results are f32, but for this one:
  DType operands = DType::kF32;
  DType source_gradient = DType::kF32;  ///< kBf16 only where the operands are
};

/// [N, O, (H + 2 pad - KH) / stride + 1, the same for W].
/// @throws ShapeError that opens with `place` if channels, groups or window do not fit.
Shape conv2d_output(const std::string& place, const F32Conv2dProblem& problem);

/// Which directions a product is to be prepared for.
struct F32Directions {
  bool forward = true;
  bool backward_data = true;
  bool backward_weights = true;
};

/// Forward:          y[n,o,y,x] = sum_{i,u,v} x[n,i,y*s+u-p,x*s+v-p] * w[o,i,u,v] + b[o]
/// Backward data:    dx = the transposed sum over o, u, v of dy * w
/// Backward weights: dw[o,i,u,v] = sum_{n,y,x} dy * x;  db[o] = sum_{n,y,x} dy
///
/// Each direction reorders the weights to the layout it is fastest with, in the caller's scratch
/// memory: a plain layout runs up to eight times slower. Sums depend on the thread count in
/// backward_weights (as oneDNN's do). A call allocates nothing of ours.
class F32Conv2d {
 public:
  /// @throws BackendError if oneDNN has no implementation.
  F32Conv2d(const F32Conv2dProblem& problem, const F32Directions& directions);
  ~F32Conv2d();
  F32Conv2d(F32Conv2d&&) noexcept;
  F32Conv2d& operator=(F32Conv2d&&) noexcept;

  /// Largest need of any call; `scratch` below has this many bytes, 64-byte aligned.
  std::size_t scratch_bytes() const;

  /// `bias` is empty unless the problem has one.
  void forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
               TensorView destination, std::byte* scratch);
  void backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                     TensorView source_gradient, std::byte* scratch);
  /// `bias_gradient` is empty unless the problem has a bias.
  void backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                        TensorView weight_gradient, TensorView bias_gradient, std::byte* scratch);

  /// oneDNN's names of the prepared directions, "forward A, backward-data B, backward-weights C".
  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
