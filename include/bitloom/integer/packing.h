// Codes of 1 to 7 bits, packed for the disk: code - qmin in `bits` bits, little-endian bit order
// (bit i of a row is bit i % 8 of byte i / 8), each row (output channel) padded to whole bytes.
// Goes to: integer/model_archive.h.
#pragma once

#include "bitloom/core/tensor.h"

namespace bitloom::integer {

/// codes s8 [O, ...] to u8 [O, bytes], bytes = ceil(elements of a row * bits / 8).
/// @pre every code lies in [qmin, qmin + 2^bits - 1].
Tensor pack_codes(ConstTensorView codes, int bits, std::int32_t qmin);

/// The inverse, to s8 of `shape`.
/// @throws FormatError if bits is outside 2 .. 7, the packed tensor has not the size that `shape`
///         needs, or a code leaves s8.
Tensor unpack_codes(ConstTensorView packed, const Shape& shape, int bits, std::int32_t qmin);

/// Binary codes s8 [O, ...] to u8 [O, bytes], one bit each: 1 for -1, 0 for +1; rows as above.
Tensor pack_signs(ConstTensorView codes);

/// The inverse, to s8 of `shape`. @throws FormatError if the packed tensor has another size.
Tensor unpack_signs(ConstTensorView packed, const Shape& shape);

}  // namespace bitloom::integer
