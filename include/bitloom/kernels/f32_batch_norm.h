// Batch normalization of NHWC reals on oneDNN, planned once.
// Comes from: layers/batch_norm.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

struct F32BatchNormProblem {
  Shape source;           ///< [N, C, H, W] or [N, C]
  float epsilon = 1e-5F;  ///< added to the variance
  bool frozen = false;    ///< training with statistics that are given: they count as constants
};

/// Per channel c over the M = N*H*W values:
///   mean = sum x / M;  variance = sum (x - mean)^2 / M (biased);  r = 1 / sqrt(variance + epsilon)
///   y = gamma * (x - mean) * r + beta
/// Backward, with h = (x - mean) * r:
///   dbeta = sum dy;  dgamma = sum dy * h;  dx = gamma * r * (dy - dbeta / M - h * dgamma / M)
/// frozen: dx = gamma * r * dy; training's forward is forward_evaluate.
///
/// Shapes: gamma, beta, mean, variance and their gradients [C]. A call allocates nothing of ours.
class F32BatchNorm {
 public:
  /// `training` prepares forward_train and backward. @throws BackendError.
  F32BatchNorm(const F32BatchNormProblem& problem, bool training);
  ~F32BatchNorm();
  F32BatchNorm(F32BatchNorm&&) noexcept;
  F32BatchNorm& operator=(F32BatchNorm&&) noexcept;

  std::size_t scratch_bytes() const;

  /// Normalizes by the batch's own statistics and writes them.
  void forward_train(ConstTensorView source, ConstTensorView gamma, ConstTensorView beta,
                     TensorView mean, TensorView variance, TensorView destination,
                     std::byte* scratch);
  /// Normalizes by the statistics given.
  void forward_evaluate(ConstTensorView source, ConstTensorView gamma, ConstTensorView beta,
                        ConstTensorView mean, ConstTensorView variance, TensorView destination,
                        std::byte* scratch);
  /// source_gradient may be destination_gradient's memory.
  void backward(ConstTensorView source, ConstTensorView gamma, ConstTensorView mean,
                ConstTensorView variance, ConstTensorView destination_gradient,
                TensorView source_gradient, TensorView gamma_gradient, TensorView beta_gradient,
                std::byte* scratch);

  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
