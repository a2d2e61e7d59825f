// XNOR-Net's map of input magnitudes, per pixel of NHWC reals. Plain loops.
// Comes from: layers/xnor_scaling.
#pragma once

#include <cstdint>

#include "bitloom/core/shape.h"
#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// mean[r] = mean over channels of |x[r, c]|. x [rows, channels].
void channel_mean_magnitude(ConstTensorView x, std::int64_t channels, float* mean) noexcept;

/// k[n, 0, oh, ow] = sum of mean over the window's taps inside the image / (kernel_h * kernel_w):
/// taps in the padding count as 0. mean [N, 1, H, W], k [N, 1, H', W'].
void box_filter(ConstTensorView mean, const integer::Window& window, TensorView k) noexcept;

/// The transpose of box_filter: dmean from dk.
void box_filter_gradient(ConstTensorView dk, const integer::Window& window,
                         TensorView dmean) noexcept;

/// dx[r, c] = sign(x[r, c]) * dmean[r] / channels, with sign(0) = 0.
void channel_mean_magnitude_gradient(ConstTensorView x, std::int64_t channels, const float* dmean,
                                     TensorView dx) noexcept;

/// y[r, c] = x[r, c] * k[r]. x, y [rows, channels]; y may be x.
void scale_rows(ConstTensorView x, ConstTensorView k, TensorView y) noexcept;

/// dk[r] = sum over c of dy[r, c] * x[r, c].
void scale_rows_gradient(ConstTensorView x, ConstTensorView dy, TensorView dk) noexcept;

}  // namespace bitloom::kernels
