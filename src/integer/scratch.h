// A bump allocator over planned scratch memory; 64-byte aligned pieces.
#pragma once

#include <cstddef>
#include <span>

#include "bitloom/core/tensor.h"

namespace bitloom::integer {

inline std::size_t aligned_bytes(std::size_t bytes) {
  return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
}

/// The caller's scratch where it is large enough, else memory of its own.
class Scratch {
 public:
  Scratch(std::span<std::byte> planned, std::size_t bytes) {
    if (planned.size() >= bytes) {
      next_ = planned.data();
      return;
    }
    own_ = Tensor(DType::kU8, Shape{static_cast<std::int64_t>(bytes)});
    next_ = reinterpret_cast<std::byte*>(own_.data<std::uint8_t>());
  }

  template <typename T>
  T* take(std::int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += aligned_bytes(static_cast<std::size_t>(count) * sizeof(T));
    return piece;
  }

 private:
  Tensor own_;
  std::byte* next_ = nullptr;
};

}  // namespace bitloom::integer
