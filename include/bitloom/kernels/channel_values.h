// What a product leaves to the chain behind it, as rows of channels.
// Goes to: channel_statistics.h, elementwise_chain.h.
#pragma once

#include <cstddef>
#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/bf16_convert.h"

namespace bitloom::kernels {

/// Reals, or sums of codes: integers that bf16 holds exactly, half of the bytes.
///   x[row][c] = at[row][c] in f32, or float(at[row][c]) * scale[c], rounded once, in bf16
struct ChannelValues {
  const void* at = nullptr;      ///< [rows, channels]
  DType dtype = DType::kF32;     ///< kF32 or kBf16
  const float* scale = nullptr;  ///< [channels], of sums
};

/// The same from element `first` on, which starts a row.
inline ChannelValues from_element(const ChannelValues& all, std::int64_t first) {
  const auto bytes = static_cast<std::size_t>(first) * size_of(all.dtype);
  return {all.at == nullptr ? nullptr : static_cast<const std::byte*>(all.at) + bytes, all.dtype,
          all.scale};
}

/// Element i, of channel c: what the plain references read.
inline float value_at(const ChannelValues& x, std::int64_t i, std::int64_t c) {
  if (x.dtype == DType::kF32) return static_cast<const float*>(x.at)[i];
  return to_float(static_cast<const Bf16*>(x.at)[i]) * x.scale[c];
}

}  // namespace bitloom::kernels
