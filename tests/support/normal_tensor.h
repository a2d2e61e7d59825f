// Tensors of normal numbers, the same wherever the same name is asked for.
#pragma once

#include "bitloom/core/random.h"
#include "bitloom/core/tensor.h"

namespace bitloom {

inline Tensor normal(const Shape& shape, const char* name) {
  Tensor tensor(DType::kF32, shape);
  const RandomStream random(5, name);
  const auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = random.normal(i);
  return tensor;
}

}  // namespace bitloom
