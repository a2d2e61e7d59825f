#include "bitloom/integer/packing.h"

#include "bitloom/core/error.h"

namespace bitloom::integer {
namespace {

std::int64_t row_bytes(std::int64_t row, int bits) { return (row * bits + 7) / 8; }

// Rows of a packed tensor that is to become `shape`; @throws FormatError for another size.
std::int64_t checked_rows(ConstTensorView packed, const Shape& shape, int bits) {
  const std::int64_t rows = shape.n();
  const std::int64_t row = rows > 0 ? shape.elements() / rows : 0;
  if (rows == 0 || packed.dtype() != DType::kU8 ||
      packed.shape() != Shape{rows, row_bytes(row, bits)}) {
    throw FormatError(cat("expected u8 [", rows, ", ", row_bytes(row, bits), "], found ",
                          to_word(packed.dtype()), " ", to_string(packed.shape())));
  }
  return rows;
}

}  // namespace

Tensor pack_codes(ConstTensorView codes, int bits, std::int32_t qmin) {
  const std::int64_t rows = codes.shape().n();
  const std::int64_t row = codes.elements() / rows;
  const std::int64_t bytes = row_bytes(row, bits);
  Tensor packed(DType::kU8, Shape{rows, bytes});
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int8_t* from = codes.data<std::int8_t>() + r * row;
    std::uint8_t* to = packed.data<std::uint8_t>() + r * bytes;
    for (std::int64_t i = 0; i < row; ++i) {
      const std::uint32_t value = static_cast<std::uint32_t>(from[i] - qmin);
      const std::int64_t bit = i * bits;
      const std::uint32_t spread = value << (bit % 8);
      to[bit / 8] = static_cast<std::uint8_t>(to[bit / 8] | (spread & 255U));
      if (spread > 255U) to[bit / 8 + 1] = static_cast<std::uint8_t>(spread >> 8);
    }
  }
  return packed;
}

Tensor unpack_codes(ConstTensorView packed, const Shape& shape, int bits, std::int32_t qmin) {
  if (bits < 2 || bits > 7) throw FormatError(cat("packed codes have 2 to 7 bits, found ", bits));
  if (qmin < -128 || qmin + (1 << bits) - 1 > 127) {
    throw FormatError(cat("packed codes start within s8, found qmin ", qmin));
  }
  const std::int64_t rows = checked_rows(packed, shape, bits);
  const std::int64_t row = shape.elements() / rows;
  const std::int64_t bytes = row_bytes(row, bits);
  Tensor codes(DType::kS8, shape);
  const std::uint32_t mask = (1U << bits) - 1U;
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::uint8_t* from = packed.data<std::uint8_t>() + r * bytes;
    std::int8_t* to = codes.data<std::int8_t>() + r * row;
    for (std::int64_t i = 0; i < row; ++i) {
      const std::int64_t bit = i * bits;
      std::uint32_t pair = from[bit / 8];
      if (bit % 8 + bits > 8) pair |= static_cast<std::uint32_t>(from[bit / 8 + 1]) << 8;
      const std::uint32_t value = (pair >> (bit % 8)) & mask;
      to[i] = static_cast<std::int8_t>(static_cast<std::int32_t>(value) + qmin);
    }
  }
  return codes;
}

Tensor pack_signs(ConstTensorView codes) {
  const std::int64_t rows = codes.shape().n();
  const std::int64_t row = codes.elements() / rows;
  Tensor packed(DType::kU8, Shape{rows, row_bytes(row, 1)});
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::int8_t* from = codes.data<std::int8_t>() + r * row;
    std::uint8_t* to = packed.data<std::uint8_t>() + r * row_bytes(row, 1);
    for (std::int64_t i = 0; i < row; ++i) {
      if (from[i] < 0) to[i / 8] = static_cast<std::uint8_t>(to[i / 8] | (1U << (i % 8)));
    }
  }
  return packed;
}

Tensor unpack_signs(ConstTensorView packed, const Shape& shape) {
  const std::int64_t rows = checked_rows(packed, shape, 1);
  const std::int64_t row = shape.elements() / rows;
  Tensor codes(DType::kS8, shape);
  for (std::int64_t r = 0; r < rows; ++r) {
    const std::uint8_t* from = packed.data<std::uint8_t>() + r * row_bytes(row, 1);
    std::int8_t* to = codes.data<std::int8_t>() + r * row;
    for (std::int64_t i = 0; i < row; ++i) {
      to[i] = (from[i / 8] >> (i % 8)) & 1U ? std::int8_t{-1} : std::int8_t{1};
    }
  }
  return codes;
}

}  // namespace bitloom::integer
