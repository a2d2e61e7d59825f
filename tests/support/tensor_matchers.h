// Matchers and makers that let a test read like its sum: EXPECT_THAT(y, TensorNear(row({1, 2}),
// 1e-6F)).
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <initializer_list>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "bitloom/core/tensor.h"

namespace bitloom {

/// Element `i` in memory order as a double, whatever the type.
inline double element(ConstTensorView tensor, std::int64_t i) {
  switch (tensor.dtype()) {
    case DType::kF32:
      return tensor.data<float>()[i];
    case DType::kF64:
      return tensor.data<double>()[i];
    case DType::kU8:
      return tensor.data<std::uint8_t>()[i];
    case DType::kS8:
      return tensor.data<std::int8_t>()[i];
    case DType::kS32:
      return tensor.data<std::int32_t>()[i];
    case DType::kS64:
      return static_cast<double>(tensor.data<std::int64_t>()[i]);
    case DType::kBf16: {
      const std::uint32_t bits = std::uint32_t{tensor.data<Bf16>()[i].bits} << 16;
      float value = 0;
      std::memcpy(&value, &bits, sizeof(value));
      return value;
    }
  }
  return 0;
}

/// gtest's printer; the values lie in memory order.
inline void PrintTo(ConstTensorView tensor, std::ostream* out) {
  *out << to_word(tensor.dtype()) << ' ' << to_string(tensor.shape()) << " {";
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    if (i == 32) {
      *out << ", ...";
      break;
    }
    *out << (i > 0 ? ", " : "") << element(tensor, i);
  }
  *out << '}';
}
inline void PrintTo(const Tensor& tensor, std::ostream* out) { PrintTo(tensor.view(), out); }

/// f32 [1, n].
inline Tensor row(std::initializer_list<float> values) {
  Tensor tensor(DType::kF32, {1, static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

/// f32 [n].
inline Tensor vector_of(std::initializer_list<float> values) {
  Tensor tensor(DType::kF32, {static_cast<std::int64_t>(values.size())});
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return tensor;
}

template <typename T>
Tensor matrix_as(std::initializer_list<std::initializer_list<T>> rows) {
  const std::size_t columns = rows.size() == 0 ? 0 : rows.begin()->size();
  Tensor tensor(kDTypeOf<T>,
                {static_cast<std::int64_t>(rows.size()), static_cast<std::int64_t>(columns)});
  T* out = tensor.data<T>();
  for (const auto& values : rows) {
    if (values.size() != columns) throw ShapeError("matrix: rows of different lengths");
    out = std::copy(values.begin(), values.end(), out);
  }
  return tensor;
}

/// f32 [rows, columns].
inline Tensor matrix(std::initializer_list<std::initializer_list<float>> rows) {
  return matrix_as<float>(rows);
}

/// A zero tensor of the same type and shape.
inline Tensor like(ConstTensorView tensor) { return {tensor.dtype(), tensor.shape()}; }

/// Values given in logical [N, C, H, W] order, as PyTorch prints them, into channels-last memory.
template <typename T>
Tensor from_nchw(const Shape& shape, const std::vector<T>& values) {
  Tensor tensor(kDTypeOf<T>, shape);
  if (static_cast<std::int64_t>(values.size()) != shape.elements()) {
    throw ShapeError("from_nchw: wrong count of values");
  }
  std::size_t i = 0;
  for (std::int64_t n = 0; n < shape.n(); ++n) {
    for (std::int64_t c = 0; c < shape.c(); ++c) {
      for (std::int64_t h = 0; h < shape.h(); ++h) {
        for (std::int64_t w = 0; w < shape.w(); ++w) {
          tensor.data<T>()[shape.offset(n, c, h, w)] = values[i++];
        }
      }
    }
  }
  return tensor;
}

namespace internal {

/// Compares with a tensor kept by all copies of the matcher.
class TensorMatcher {
 public:
  using is_gtest_matcher = void;

  /// @param any_type compare integer values, not types; @param tolerance < 0: bit for bit.
  TensorMatcher(Tensor expected, double tolerance, bool any_type)
      : expected_(std::make_shared<Tensor>(std::move(expected))),
        tolerance_(tolerance),
        any_type_(any_type) {}

  template <typename T>
  bool MatchAndExplain(const T& value, std::ostream* out) const {
    const ConstTensorView found = value;
    const ConstTensorView expected = *expected_;
    if (found.shape() != expected.shape() || (!any_type_ && found.dtype() != expected.dtype())) {
      if (out != nullptr) {
        *out << "which is " << to_word(found.dtype()) << ' ' << to_string(found.shape());
      }
      return false;
    }
    std::int64_t wrong = 0;
    for (std::int64_t i = 0; i < expected.elements(); ++i) {
      if (matches(found, expected, i)) continue;
      if (++wrong == 1 && out != nullptr) {
        *out << "whose element " << i << " (in memory order) is " << element(found, i)
             << " instead of " << element(expected, i);
      }
    }
    if (wrong > 1 && out != nullptr) *out << ", and " << wrong - 1 << " more differ";
    return wrong == 0;
  }

  void DescribeTo(std::ostream* out) const {
    *out << (tolerance_ < 0 ? "equals " : "is near ");
    PrintTo(*expected_, out);
    if (tolerance_ >= 0) *out << " within " << tolerance_;
  }
  void DescribeNegationTo(std::ostream* out) const {
    *out << "not: ";
    DescribeTo(out);
  }

 private:
  bool matches(ConstTensorView found, ConstTensorView expected, std::int64_t i) const {
    if (tolerance_ >= 0) {
      const double difference = std::fabs(element(found, i) - element(expected, i));
      return difference <= tolerance_ || element(found, i) == element(expected, i);
    }
    if (any_type_) return element(found, i) == element(expected, i);
    const std::size_t size = size_of(expected.dtype());
    const std::size_t at = static_cast<std::size_t>(i) * size;
    return std::memcmp(static_cast<const char*>(found.raw()) + at,
                       static_cast<const char*>(expected.raw()) + at, size) == 0;
  }

  std::shared_ptr<Tensor> expected_;
  double tolerance_;
  bool any_type_;
};

}  // namespace internal

/// Same type, shape and bits (so -0 is not +0, and a NaN equals itself).
inline internal::TensorMatcher TensorEq(ConstTensorView expected) {
  Tensor twin(expected.dtype(), expected.shape());
  copy(expected, twin);
  return {std::move(twin), -1, false};
}

/// Same type and shape; every element within `tolerance` (absolute). A NaN is near nothing.
inline internal::TensorMatcher TensorNear(ConstTensorView expected, double tolerance) {
  Tensor twin(expected.dtype(), expected.shape());
  copy(expected, twin);
  return {std::move(twin), tolerance, false};
}

/// A rank-2 tensor of any integer type with these values.
inline internal::TensorMatcher CodesEq(
    std::initializer_list<std::initializer_list<std::int32_t>> rows) {
  return {matrix_as<std::int32_t>(rows), -1, true};
}

}  // namespace bitloom
