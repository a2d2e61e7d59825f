// Quantization-aware training with the exported layer's own formula, once batch norm's statistics
// keep still: what a step computes is what will run, bit for bit.
// Comes from: quant/passes.h (use_integer_forward). Goes to: layers/network.h.
#pragma once

#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/quantized_layers.h"

namespace bitloom::quant {

/// `exported_conv2d(x, weight, unit=Q, batch_norm=B, ...)` and `exported_linear`: product, frozen
/// batch norm B (absent: none) and division by the scale of the fake_quant node Q, in one kernel.
///
/// Forward:  t[o] = float(acc) * m[o] + b[o], integer/requantize.h's first two steps, with m and b
///           of fold_channel() of ChannelAffines, s_x, s_w[o], s_y of Q and its zero point:
///           what deploy stores. t is in codes of Q, its zero point included.
/// Backward: dy is the gradient of the real value y = s_y * (t - z), not of t. With slope and
///           r = 1 / sqrt(var + epsilon) of the channel, c = conv(x, weight) + bias:
///   dweight[o] = slope * D[o],  D = weight gradient of dy itself;  dx = conv's with slope * weight
///   dgamma = r * (<D[o], weight[o]> + (bias - mean) * sum dy) = sum dy * (c - mean) * r
///   dbeta = sum dy;  dbias = slope * sum dy
/// Attributes: those of conv2d or linear; unit, zero_point (Q's), batch_norm, epsilon (B's).
/// Parameters: those of conv2d or linear, and of B.
/// @throws ConfigError if the store has no scale of Q.
class ExportedProduct final : public QuantizedProduct {
 public:
  explicit ExportedProduct(const layers::LayerContext& context);

  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 private:
  std::size_t weight_bytes() const;
  void scale_gradients(const float* weight, const layers::BackwardCall& call);

  const layers::Parameter& destination_;
  std::int32_t destination_zero_point_;
  layers::Parameter* gamma_ = nullptr;  // nullptr without batch norm
  layers::Parameter* beta_ = nullptr;
  ChannelAffines affines_;
  Tensor folded_bias_;
  Tensor sums_;  // of dy, a channel each
  Tensor slopes_;
};

/// `exported_add(branch, shortcut, unit=Q)`: the branch in codes of Q, the shortcut codes of its
/// own: y = fma(float(code - z), s_r / s_y, branch). Gradients of both inputs are the output's (of
/// the real values).
class ExportedAdd final : public layers::Layer {
 public:
  explicit ExportedAdd(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 private:
  layers::Edge edge_;
  layers::Edge shortcut_;
  const layers::Parameter& destination_;
};

}  // namespace bitloom::quant
