#include "requantize_row.h"

#include <algorithm>

#include "bitloom/integer/requantize.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kChunk = 256;  // channels that pass through a buffer on the stack

BITLOOM_SIMD_CLONES
void scale_chunk(const std::int32_t* acc, const float* multiplier, const float* bias,
                 std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) t[i] = scale_accumulator(acc[i], multiplier[i], bias[i]);
}

BITLOOM_SIMD_CLONES
void add_residual_u8(const std::uint8_t* codes, std::int32_t zero_point, float ratio,
                     std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) t[i] = add_residual(t[i], codes[i], zero_point, ratio);
}

BITLOOM_SIMD_CLONES
void add_residual_s8(const std::int8_t* codes, std::int32_t zero_point, float ratio,
                     std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) t[i] = add_residual(t[i], codes[i], zero_point, ratio);
}

BITLOOM_SIMD_CLONES
void relu_chunk(std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) t[i] = t[i] > 0.0F ? t[i] : 0.0F;
}

BITLOOM_SIMD_CLONES
void round_u8(const float* t, std::int64_t count, CodeRange range, std::uint8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::uint8_t>(round_clamped(t[i], range));
  }
}

BITLOOM_SIMD_CLONES
void round_s8(const float* t, std::int64_t count, CodeRange range, std::int8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::int8_t>(round_clamped(t[i], range));
  }
}

}  // namespace

RequantizeRow requantize_row_of(const Model& model, const Layer& layer) {
  const TensorInfo& output = model.tensors[static_cast<std::size_t>(layer.output)];
  RequantizeRow row{.multiplier = layer.multiplier.data<float>(),
                    .bias = layer.bias.data<float>(),
                    .channels = layer.weight.shape().n(),
                    .relu = layer.relu,
                    .has_residual = layer.inputs.size() == 2,
                    .out_dtype = output.dtype,
                    .range = output.format.range};
  if (row.has_residual) {
    const TensorInfo& residual = model.tensors[static_cast<std::size_t>(layer.inputs[1])];
    row.residual_dtype = residual.dtype;
    row.residual_zero_point = residual.format.zero_point;
    row.residual_ratio = layer.residual_ratio;
  }
  return row;
}

void round_row(const float* t, std::int64_t count, CodeRange range, DType dtype,
               void* codes) noexcept {
  if (dtype == DType::kU8) {
    round_u8(t, count, range, static_cast<std::uint8_t*>(codes));
  } else {
    round_s8(t, count, range, static_cast<std::int8_t*>(codes));
  }
}

void requantize_row(const RequantizeRow& row, const std::int32_t* acc, const void* residual,
                    void* out) noexcept {
  float buffer[kChunk];
  for (std::int64_t begin = 0; begin < row.channels; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, row.channels - begin);
    float* t = row.out_dtype == DType::kF32 ? static_cast<float*>(out) + begin : buffer;
    scale_chunk(acc + begin, row.multiplier + begin, row.bias + begin, count, t);
    if (row.has_residual && row.residual_dtype == DType::kU8) {
      add_residual_u8(static_cast<const std::uint8_t*>(residual) + begin, row.residual_zero_point,
                      row.residual_ratio, count, t);
    } else if (row.has_residual) {
      add_residual_s8(static_cast<const std::int8_t*>(residual) + begin, row.residual_zero_point,
                      row.residual_ratio, count, t);
    }
    if (row.relu) relu_chunk(count, t);
    if (row.out_dtype == DType::kF32) continue;
    round_row(t, count, row.range, row.out_dtype, static_cast<std::uint8_t*>(out) + begin);
  }
}

}  // namespace bitloom::integer
