// requantize.h over the channels of one pixel.
#pragma once

#include <cstdint>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// What follows the accumulators of one static or dynamic layer.
struct RequantizeRow {
  const float* multiplier = nullptr;
  const float* negative_multiplier = nullptr;  ///< of layers with two scales
  const float* bias = nullptr;
  std::int64_t channels = 0;
  bool has_residual = false;
  DType residual_dtype = DType::kU8;
  std::int32_t residual_zero_point = 0;
  float residual_ratio = 0.0F;
  DType out_dtype = DType::kU8;
  CodeRange range;  ///< of an output of codes
  Grid grid = Grid::kAffine;
  Clip clip;  ///< of an f32 output
};

RequantizeRow requantize_row_of(const Model& model, const Layer& layer);

/// acc [O], of layers with two scales [2 * O]; `source_scale` s_x of a dynamic layer's image, 1 for
/// static layers, whose multiplier holds it; `residual` codes or f32 [O] or nullptr, perhaps the
/// memory of out; `out` [O] of out_dtype.
void requantize_row(const RequantizeRow& row, const std::int32_t* acc, float source_scale,
                    const void* residual, void* out) noexcept;

/// Requantizes rows of accumulators into a tensor.
struct RequantizeTarget {
  RequantizeRow row;
  ConstTensorView residual;
  TensorView out;
  const float* source_scales = nullptr;  ///< dynamic layers: one an image

  /// acc [O] of output pixel `index` (batch, y, x in order).
  void take(std::int64_t index, const std::int32_t* acc) const noexcept;
};

/// codes[i] = round_clamped(t[i], range), to u8 or s8; of a binary grid sign_code(t[i]) within
/// range.
void round_row(const float* t, std::int64_t count, CodeRange range, Grid grid, DType dtype,
               void* codes) noexcept;

/// values[i] = clipped(values[i], clip).
void clip_row(float* values, std::int64_t count, const Clip& clip) noexcept;

}  // namespace bitloom::integer
