// Max pooling for inference on oneDNN, of codes or reals, planned once.
// Comes from: backends/onednn.
#pragma once

#include <memory>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// y = the largest value of each window; padding never wins. Exact for every type.
class Int8MaxPool {
 public:
  /// `source` [N, C, H, W] of `dtype` kU8, kS8 or kF32; groups of the window are not read.
  /// @throws ShapeError if the window does not fit, BackendError if oneDNN has no implementation
  ///         but its plain reference.
  Int8MaxPool(const Shape& source, DType dtype, const integer::Window& window);
  ~Int8MaxPool();
  Int8MaxPool(Int8MaxPool&&) noexcept;
  Int8MaxPool& operator=(Int8MaxPool&&) noexcept;

  void run(ConstTensorView source, TensorView destination);

  std::string implementation() const;  ///< oneDNN's impl_info_str
  Shape destination() const;
  std::size_t memory_bytes() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace bitloom::kernels
