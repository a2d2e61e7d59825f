// ReLU, clipping, dropout and sums of reals: plain loops, limited by memory.
// Comes from: layers/relu, layers/clip, layers/add, layers/network (sums of gradients).
#pragma once

#include "bitloom/core/tensor.h"

namespace bitloom::kernels {

/// y = x if x > 0, else 0 (so a NaN gives 0: training looks for NaN in the loss). y may be x.
void relu(ConstTensorView x, TensorView y) noexcept;
/// dx = dy where y > 0, else 0. dx may be dy.
void relu_gradient(ConstTensorView y, ConstTensorView dy, TensorView dx) noexcept;

/// What clip keeps. @pre low < high.
struct ClipBounds {
  float low = 0.0F;
  float high = 0.0F;
};
/// y = x where low < x < high, else the bound beyond which x lies (NaN gives low). y may be x.
void clip(ConstTensorView x, ClipBounds bounds, TensorView y) noexcept;
/// dx = dy where low < y < high, else 0. dx may be dy.
void clip_gradient(ConstTensorView y, ConstTensorView dy, ClipBounds bounds,
                   TensorView dx) noexcept;

/// sum = a + b. sum may be a or b.
void add(ConstTensorView a, ConstTensorView b, TensorView sum) noexcept;
/// to = from, threaded; nothing where they are the same memory.
void copy_f32(ConstTensorView from, TensorView to) noexcept;

}  // namespace bitloom::kernels
