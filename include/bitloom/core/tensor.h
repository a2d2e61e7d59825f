// Owning tensors and views of them: plain typed memory, channels-last, 64-byte aligned.
// Goes to: every folder.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "bitloom/core/error.h"
#include "bitloom/core/shape.h"

namespace bitloom {

/// Element types; the words of `to_word` stand in files.
enum class DType : std::uint8_t { kF32, kF64, kU8, kS8, kS32, kS64, kBf16 };

std::size_t size_of(DType dtype);
std::string_view to_word(DType dtype);
/// @throws FormatError for an unknown word.
DType dtype_from_word(std::string_view word);

/// Storage of one bfloat16: the upper half of a float.
struct Bf16 {
  std::uint16_t bits;
};

template <typename T>
inline constexpr DType kDTypeOf = DType::kF32;
template <>
inline constexpr DType kDTypeOf<double> = DType::kF64;
template <>
inline constexpr DType kDTypeOf<std::uint8_t> = DType::kU8;
template <>
inline constexpr DType kDTypeOf<std::int8_t> = DType::kS8;
template <>
inline constexpr DType kDTypeOf<std::int32_t> = DType::kS32;
template <>
inline constexpr DType kDTypeOf<std::int64_t> = DType::kS64;
template <>
inline constexpr DType kDTypeOf<Bf16> = DType::kBf16;

/// Read-only window on a tensor; does not own.
class ConstTensorView {
 public:
  ConstTensorView() = default;
  ConstTensorView(DType dtype, const Shape& shape, const void* data)
      : data_(data), shape_(shape), dtype_(dtype) {}

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }
  const void* raw() const { return data_; }
  bool empty() const { return data_ == nullptr; }

  /// Typed pointer. @pre T is the element type.
  template <typename T>
  const T* data() const {
    BITLOOM_ASSERT(kDTypeOf<T> == dtype_);
    return static_cast<const T*>(data_);
  }
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }

  /// The same memory under another shape. @throws ShapeError if the element counts differ.
  ConstTensorView reshaped(const Shape& shape) const;

 private:
  const void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

/// Writable window on a tensor; does not own.
class TensorView {
 public:
  TensorView() = default;
  TensorView(DType dtype, const Shape& shape, void* data)
      : data_(data), shape_(shape), dtype_(dtype) {}

  operator ConstTensorView() const { return {dtype_, shape_, data_}; }  // NOLINT: a view of a view

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }
  void* raw() const { return data_; }
  bool empty() const { return data_ == nullptr; }

  template <typename T>
  T* data() const {
    BITLOOM_ASSERT(kDTypeOf<T> == dtype_);
    return static_cast<T*>(data_);
  }
  template <typename T>
  std::span<T> span() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }

  TensorView reshaped(const Shape& shape) const;

 private:
  void* data_ = nullptr;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

/// Owning memory of one shape and type; 64-byte aligned, zero-filled when made. Move-only:
/// a copy is asked for by name.
class Tensor {
 public:
  static constexpr std::size_t kAlignment = 64;

  Tensor() = default;
  /// @throws ShapeError if memory has no room for it.
  Tensor(DType dtype, const Shape& shape);

  Tensor clone() const;

  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  std::int64_t elements() const { return shape_.elements(); }
  std::size_t bytes() const { return static_cast<std::size_t>(elements()) * size_of(dtype_); }
  bool empty() const { return memory_ == nullptr; }
  void* raw() { return memory_.get(); }
  const void* raw() const { return memory_.get(); }

  template <typename T>
  T* data() {
    BITLOOM_ASSERT(kDTypeOf<T> == dtype_);
    return static_cast<T*>(raw());
  }
  template <typename T>
  const T* data() const {
    BITLOOM_ASSERT(kDTypeOf<T> == dtype_);
    return static_cast<const T*>(raw());
  }
  template <typename T>
  std::span<T> span() {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }
  template <typename T>
  std::span<const T> span() const {
    return {data<T>(), static_cast<std::size_t>(elements())};
  }

  TensorView view() { return {dtype_, shape_, raw()}; }
  ConstTensorView view() const { return {dtype_, shape_, raw()}; }
  operator TensorView() { return view(); }             // NOLINT: a tensor reads as its view
  operator ConstTensorView() const { return view(); }  // NOLINT

 private:
  struct Free {
    void operator()(void* memory) const noexcept;
  };
  std::unique_ptr<void, Free> memory_;
  Shape shape_;
  DType dtype_ = DType::kF32;
};

/// Copies bytes. @throws ShapeError if type or element count differ.
void copy(ConstTensorView from, TensorView to);

/// A tensor of the given values. @throws ShapeError if the count differs.
template <typename T>
Tensor make_tensor(const Shape& shape, std::span<const T> values) {
  Tensor tensor(kDTypeOf<T>, shape);
  copy(ConstTensorView(kDTypeOf<T>, Shape{static_cast<std::int64_t>(values.size())}, values.data()),
       tensor.view());
  return tensor;
}

}  // namespace bitloom
