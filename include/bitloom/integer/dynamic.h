// Activations that become codes while the model runs: one scale per image, from its own values.
//
//   s_x[n] = max |x[n]| / (qmax - z)                 one f32 division
//   code   = quantize(x, 1 / s_x[n], format)         integer/affine.h
//   acc    = sum (code - z) * w                      s32, exact
//   y      = float(acc) * (s_x[n] * m[o]) + b[o]     three f32 roundings, never fused
//   y      = clipped(y + r)                          r: f32 residual, layer.clip
//
// with m[o] = s_w[o] * slope[o] and b[o] = offset[o], stored in the model. The format is u8 with
// zero point 0 for sources that are known to be non-negative, else what the profile gives signed
// activations: s8, or u8 with zero point 128; so s_x is max / 255 or max|x| / 127.
//
// ONNX's DynamicQuantizeLinear and PyTorch's quantized::linear_dynamic differ: they take one range
// from the whole batch and choose a zero point with it. Here an image's logits never depend on its
// neighbours. For one non-negative image all three have the same scale, zero point and sums.
// Golden: tests/golden/dynamic.h5, made by tools/golden/dynamic.py.
// Comes from: integer/model.h. Goes to: integer/reference.h, backends.
#pragma once

#include <limits>
#include <span>

#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

/// s_x of an image whose largest |x| is `largest`. 1 where the quotient is below the smallest
/// normal number, an all-zero image above all: its reciprocal would not be finite.
inline float dynamic_scale(float largest, const AffineFormat& format) {
  const float scale = largest / static_cast<float>(format.range.qmax - format.zero_point);
  return scale < std::numeric_limits<float>::min() ? 1.0F : scale;
}

/// Turns the largest |x| of each image into its scale, in place.
/// @throws NumericError naming layer and image if one is NaN or infinite.
void dynamic_scales(const Layer& layer, std::span<float> largest);

/// Codes and scales of a source: f32 [N, ...] to codes [N, ...] of layer.source_format and N
/// scales. The plain reference of kernels::min_max and kernels::quantize.
/// @throws NumericError as dynamic_scales.
void quantize_source(const Layer& layer, ConstTensorView source, TensorView codes,
                     std::span<float> scales);

/// y from accumulators: acc s32 [N, O, H, W] to out f32. `residual` is empty where the layer has
/// none; it may be the memory of `out`. Shared by backends whose kernels stop at s32.
void finish_dynamic(const Model& model, const Layer& layer, ConstTensorView acc_s32,
                    std::span<const float> scales, ConstTensorView residual, TensorView out);

}  // namespace bitloom::integer
