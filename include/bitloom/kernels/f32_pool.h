// Max pooling of NHWC reals on oneDNN, planned once. Averages: average_pool.h.
// Comes from: layers/max_pool.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

struct F32PoolProblem {
  Shape source;            ///< [N, C, H, W]
  integer::Window window;  ///< its groups are not read
};

/// [N, C, (H + 2 pad - kernel_h) / stride + 1, the same for W].
/// @throws ShapeError that opens with `place` if the window does not fit, or if padding exceeds
///         half of it (a window could then lie in padding alone).
Shape pool_output(const std::string& place, const Shape& source, const integer::Window& window);

/// Padding never wins; the gradient goes to the first largest value of a window. A call allocates
/// nothing of ours.
class F32Pool {
 public:
  /// `training` prepares backward. @throws BackendError.
  F32Pool(const F32PoolProblem& problem, bool training);
  ~F32Pool();
  F32Pool(F32Pool&&) noexcept;
  F32Pool& operator=(F32Pool&&) noexcept;

  std::size_t scratch_bytes() const;
  /// What forward leaves for backward: where each maximum was. 0 without training.
  std::size_t workspace_bytes() const;

  void forward(ConstTensorView source, TensorView destination, std::byte* workspace,
               std::byte* scratch);
  void backward(ConstTensorView destination_gradient, const std::byte* workspace,
                TensorView source_gradient, std::byte* scratch);

  std::string implementation() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
