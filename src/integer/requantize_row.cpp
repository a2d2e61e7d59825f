#include "requantize_row.h"

#include <algorithm>

#include "bitloom/integer/requantize.h"
#include "simd_clones.h"

namespace bitloom::integer {
namespace {

constexpr std::int64_t kChunk = 256;  // channels that pass through a buffer on the stack

// A source_scale of 1 leaves the multiplier as it is, bit for bit.
BITLOOM_SIMD_CLONES
void scale_chunk(const std::int32_t* acc, float source_scale, const float* multiplier,
                 const float* bias, std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) {
    t[i] = scale_accumulator(acc[i], source_scale * multiplier[i], bias[i]);
  }
}

BITLOOM_SIMD_CLONES
void scale_two_chunks(const std::int32_t* positive, const std::int32_t* negative,
                      float source_scale, const float* multiplier, const float* negative_multiplier,
                      const float* bias, std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) {
    const float up = static_cast<float>(positive[i]) * (source_scale * multiplier[i]);
    const float down = static_cast<float>(negative[i]) * (source_scale * negative_multiplier[i]);
    t[i] = up - down;
    t[i] = t[i] + bias[i];
  }
}

BITLOOM_SIMD_CLONES
void add_residual_f32(const float* residual, std::int64_t count, float* t) {
  for (std::int64_t i = 0; i < count; ++i) t[i] = t[i] + residual[i];
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
void clip_values(float* values, std::int64_t count, float low, float high) {
  for (std::int64_t i = 0; i < count; ++i) {
    values[i] = clipped(values[i], {.low = low, .high = high});
  }
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

BITLOOM_SIMD_CLONES
void sign_s8(const float* t, std::int64_t count, CodeRange range, std::int8_t* codes) {
  for (std::int64_t i = 0; i < count; ++i) {
    codes[i] = static_cast<std::int8_t>(std::clamp(sign_code(t[i]), range.qmin, range.qmax));
  }
}

}  // namespace

RequantizeRow requantize_row_of(const Model& model, const Layer& layer) {
  const TensorInfo& output = model.tensors[static_cast<std::size_t>(layer.output)];
  RequantizeRow row{.multiplier = layer.multiplier.data<float>(),
                    .bias = layer.bias.data<float>(),
                    .channels = layer.multiplier.shape().n(),  // plain weights may be gone
                    .has_residual = layer.inputs.size() == 2,
                    .out_dtype = output.dtype,
                    .clip = layer.clip};
  if (has_two_scales(layer)) row.negative_multiplier = layer.negative_multiplier.data<float>();
  if (output.dtype != DType::kF32) {
    row.range = code_range(layer, output);
    row.grid = output.format.grid;
  }
  if (row.has_residual) {
    const TensorInfo& residual = model.tensors[static_cast<std::size_t>(layer.inputs[1])];
    row.residual_dtype = residual.dtype;
    row.residual_zero_point = residual.format.zero_point;
    row.residual_ratio = layer.residual_ratio;
  }
  return row;
}

void round_row(const float* t, std::int64_t count, CodeRange range, Grid grid, DType dtype,
               void* codes) noexcept {
  if (grid == Grid::kBinary) {
    sign_s8(t, count, range, static_cast<std::int8_t*>(codes));
  } else if (dtype == DType::kU8) {
    round_u8(t, count, range, static_cast<std::uint8_t*>(codes));
  } else {
    round_s8(t, count, range, static_cast<std::int8_t*>(codes));
  }
}

void clip_row(float* values, std::int64_t count, const Clip& clip) noexcept {
  if (clip != Clip()) clip_values(values, count, clip.low, clip.high);
}

void requantize_row(const RequantizeRow& row, const std::int32_t* acc, float source_scale,
                    const void* residual, void* out) noexcept {
  float buffer[kChunk];
  const bool real_residual = row.has_residual && row.residual_dtype == DType::kF32;
  // Real residuals may lie where the output goes: they are read before anything is written there.
  const bool direct = row.out_dtype == DType::kF32 && !real_residual;
  for (std::int64_t begin = 0; begin < row.channels; begin += kChunk) {
    const std::int64_t count = std::min(kChunk, row.channels - begin);
    float* t = direct ? static_cast<float*>(out) + begin : buffer;
    if (row.negative_multiplier == nullptr) {
      scale_chunk(acc + begin, source_scale, row.multiplier + begin, row.bias + begin, count, t);
    } else {
      scale_two_chunks(acc + begin, acc + row.channels + begin, source_scale,
                       row.multiplier + begin, row.negative_multiplier + begin, row.bias + begin,
                       count, t);
    }
    if (real_residual) {
      add_residual_f32(static_cast<const float*>(residual) + begin, count, t);
    } else if (row.has_residual && row.residual_dtype == DType::kU8) {
      add_residual_u8(static_cast<const std::uint8_t*>(residual) + begin, row.residual_zero_point,
                      row.residual_ratio, count, t);
    } else if (row.has_residual) {
      add_residual_s8(static_cast<const std::int8_t*>(residual) + begin, row.residual_zero_point,
                      row.residual_ratio, count, t);
    }
    if (row.out_dtype == DType::kF32) {
      clip_row(t, count, row.clip);
      if (!direct) std::copy(buffer, buffer + count, static_cast<float*>(out) + begin);
      continue;
    }
    round_row(t, count, row.range, row.grid, row.out_dtype,
              static_cast<std::uint8_t*>(out) + begin);
  }
}

void RequantizeTarget::take(std::int64_t index, const std::int32_t* acc) const noexcept {
  const auto at = [&](DType dtype) {
    return static_cast<std::size_t>(index * row.channels) * size_of(dtype);
  };
  const std::int64_t pixels = out.elements() / (out.shape().n() * row.channels);  // of one image
  const float source_scale = source_scales == nullptr ? 1.0F : source_scales[index / pixels];
  const void* residual_row =
      row.has_residual ? static_cast<const std::byte*>(residual.raw()) + at(residual.dtype())
                       : nullptr;
  requantize_row(row, acc, source_scale, residual_row,
                 static_cast<std::byte*>(out.raw()) + at(row.out_dtype));
}

}  // namespace bitloom::integer
