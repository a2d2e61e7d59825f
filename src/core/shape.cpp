#include "bitloom/core/shape.h"

#include "bitloom/core/error.h"

namespace bitloom {
namespace {

// 2^40 elements of 8 bytes stay far below 2^63, so byte counts need no further checks.
constexpr std::int64_t kMaxElements = std::int64_t{1} << 40;

std::string dims_text(std::initializer_list<std::int64_t> dims) {
  std::string out = "[";
  for (const std::int64_t dim : dims) out += (out.size() > 1 ? ", " : "") + std::to_string(dim);
  return out + "]";
}

}  // namespace

Shape::Shape(std::initializer_list<std::int64_t> dims) {
  if (dims.size() > kMaxRank || dims.size() == 3) {
    throw ShapeError({.place = "shape " + dims_text(dims),
                      .expected = "0, 1, 2 or 4 dimensions",
                      .found = std::to_string(dims.size()),
                      .remedy = ""});
  }
  std::int64_t product = 1;
  for (const std::int64_t dim : dims) {
    if (dim < 0) {
      throw ShapeError({.place = "shape " + dims_text(dims),
                        .expected = "dimensions of at least 0",
                        .found = std::to_string(dim),
                        .remedy = ""});
    }
    // A zero dimension must not excuse the others: [0, 2^62, 2^62] would overflow strides.
    const std::int64_t factor = dim == 0 ? 1 : dim;
    if (factor > kMaxElements / product) {
      throw ShapeError({.place = "shape " + dims_text(dims),
                        .expected = "at most 2^40 elements",
                        .found = "more",
                        .remedy = ""});
    }
    product *= factor;
    dims_[static_cast<std::size_t>(rank_++)] = dim;
  }
}

std::int64_t Shape::elements() const {
  std::int64_t product = 1;
  for (int axis = 0; axis < rank_; ++axis) product *= (*this)[axis];
  return product;
}

Shape Shape::with_batch(std::int64_t batch) const {
  switch (rank_) {
    case 1:
      return {batch};
    case 2:
      return {batch, dims_[1]};
    case 4:
      return {batch, dims_[1], dims_[2], dims_[3]};
    default:
      throw ShapeError({.place = "with_batch",
                        .expected = "a shape with a first dimension",
                        .found = to_string(*this),
                        .remedy = ""});
  }
}

std::string to_string(const Shape& shape) {
  std::string out = "[";
  for (int axis = 0; axis < shape.rank(); ++axis) {
    out += (axis > 0 ? ", " : "") + std::to_string(shape[axis]);
  }
  return out + "]";
}

}  // namespace bitloom
