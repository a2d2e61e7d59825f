// Logical shapes and the one memory order.
// Goes to: core/tensor.h and everything that names a dimension.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace bitloom {

/// Logical dimensions of a tensor, outermost first, at most four.
///
/// Activations are [N, C, H, W] or [N, C]; weights [O, I, KH, KW] or [O, I]; vectors [C].
/// Memory is always channels-last: rank 4 lies as NHWC (OHWI), rank 1 and 2 lie row-major.
/// Rank 3 is not used. Rank 0 is a scalar with one element.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  /// @throws ShapeError for more than four dimensions, rank 3, a negative dimension, or a
  ///         product beyond 2^40 elements.
  Shape(std::initializer_list<std::int64_t> dims);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return dims_[static_cast<std::size_t>(axis)]; }
  std::int64_t elements() const;

  /// The same shape with another first dimension (batch).
  Shape with_batch(std::int64_t batch) const;

  /// Dimension by meaning; 1 where the rank lacks it, so that [N, C] reads as [N, C, 1, 1].
  std::int64_t n() const { return rank_ > 0 ? dims_[0] : 1; }
  std::int64_t c() const { return rank_ > 1 ? dims_[1] : 1; }
  std::int64_t h() const { return rank_ > 2 ? dims_[2] : 1; }
  std::int64_t w() const { return rank_ > 3 ? dims_[3] : 1; }

  /// Element offset of (n, c, h, w) in channels-last memory.
  std::int64_t offset(std::int64_t in, std::int64_t ic, std::int64_t ih = 0,
                      std::int64_t iw = 0) const {
    return ((in * h() + ih) * w() + iw) * c() + ic;
  }

  bool operator==(const Shape&) const = default;

 private:
  std::array<std::int64_t, kMaxRank> dims_{};
  int rank_ = 0;
};

/// "[8, 3, 32, 32]".
std::string to_string(const Shape& shape);

}  // namespace bitloom
