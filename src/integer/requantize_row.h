// requantize.h over the channels of one pixel.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// What follows the accumulators of one static layer.
struct RequantizeRow {
  const float* multiplier = nullptr;
  const float* bias = nullptr;
  std::int64_t channels = 0;
  bool relu = false;
  bool has_residual = false;
  DType residual_dtype = DType::kU8;
  std::int32_t residual_zero_point = 0;
  float residual_ratio = 0.0F;
  DType out_dtype = DType::kU8;
  CodeRange range;  ///< of the output; unused for f32
};

RequantizeRow requantize_row_of(const Model& model, const Layer& layer);

/// acc [O]; `residual` codes [O] or nullptr; `out` [O] of out_dtype.
void requantize_row(const RequantizeRow& row, const std::int32_t* acc, const void* residual,
                    void* out) noexcept;

/// codes[i] = round_clamped(t[i], range), to u8 or s8.
void round_row(const float* t, std::int64_t count, CodeRange range, DType dtype,
               void* codes) noexcept;

}  // namespace bitloom::integer
