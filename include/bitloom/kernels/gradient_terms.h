// Gradients between layers, in f32 or bf16, as kernels read and write them.
// Goes to: elementwise_chain.h, few_levels.h, rectifier.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/bf16_convert.h"

namespace bitloom::kernels {

/// dy, the gradient of an output (codes too: of their reals): the sum of one or two terms, in f32.
struct OutputGradient {
  const void* first = nullptr;
  const void* second = nullptr;  ///< nullptr: first is all
  DType dtype = DType::kF32;     ///< of both: kF32 or kBf16
};

/// Where a gradient is written, in f32 or rounded to bf16 half to even; at nullptr: nobody asks.
struct InputGradient {
  void* at = nullptr;
  DType dtype = DType::kF32;
};

inline OutputGradient terms_of(ConstTensorView first, ConstTensorView second) {
  return {first.raw(), second.raw(), first.dtype()};
}
inline InputGradient place_of(TensorView gradient) {
  if (gradient.empty()) return {};
  return {gradient.raw(), gradient.dtype()};
}

/// The same from element `first` on; nothing stays nothing.
inline OutputGradient from_element(const OutputGradient& all, std::int64_t first) {
  const auto bytes = static_cast<std::size_t>(first) * size_of(all.dtype);
  const auto moved = [&](const void* at) {
    return at == nullptr ? nullptr : static_cast<const std::byte*>(at) + bytes;
  };
  return {moved(all.first), moved(all.second), all.dtype};
}
inline InputGradient from_element(const InputGradient& all, std::int64_t first) {
  const auto bytes = static_cast<std::size_t>(first) * size_of(all.dtype);
  return {all.at == nullptr ? nullptr : static_cast<std::byte*>(all.at) + bytes, all.dtype};
}

/// One element: what the plain references read and write.
inline float gradient_at(const void* term, DType dtype, std::int64_t i) {
  if (dtype == DType::kF32) return static_cast<const float*>(term)[i];
  return to_float(static_cast<const Bf16*>(term)[i]);
}
inline float gradient_at(const OutputGradient& dy, std::int64_t i) {
  const float first = gradient_at(dy.first, dy.dtype, i);
  return dy.second == nullptr ? first : first + gradient_at(dy.second, dy.dtype, i);
}
inline void write_gradient(const InputGradient& to, std::int64_t i, float gradient) {
  if (to.at == nullptr) return;
  if (to.dtype == DType::kF32) {
    static_cast<float*>(to.at)[i] = gradient;
  } else {
    static_cast<Bf16*>(to.at)[i] = round_to_bf16(gradient);
  }
}

}  // namespace bitloom::kernels
