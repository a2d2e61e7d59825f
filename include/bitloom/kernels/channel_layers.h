// What binary networks do between their products, per channel or per pixel of NHWC reals:
// rectifiers with learned slopes and shifts, and XNOR-Net's map of input magnitudes. Plain loops.
// Comes from: layers/prelu, layers/xnor_scaling.
#pragma once

#include <cstdint>

#include "bitloom/core/shape.h"
#include "bitloom/core/tensor.h"
#include "bitloom/integer/model.h"

namespace bitloom::kernels {

/// Learned numbers of a rectifier, [C] each; nullptr counts as 0.
struct RectifierChannels {
  const float* slope = nullptr;
  const float* threshold = nullptr;
  const float* offset = nullptr;
};

/// With v = x - threshold[c]:  y = (v if v > 0, else slope[c] * v) + offset[c].
void rectify(ConstTensorView x, const RectifierChannels& channels, TensorView y) noexcept;

/// Where gradients of RectifierChannels go, [C] each.
struct RectifierGradients {
  float* slope = nullptr;
  float* threshold = nullptr;  ///< nullptr: not learned
  float* offset = nullptr;     ///< nullptr: not learned
};

/// dx = dy * (1 if v > 0, else slope[c]); over the channel: dslope = sum dy * min(v, 0),
/// dthreshold = -sum dx, doffset = sum dy. dx may be dy (sums come first) or empty.
void rectify_gradient(ConstTensorView x, const RectifierChannels& channels, ConstTensorView dy,
                      const RectifierGradients& gradients, TensorView dx) noexcept;

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
