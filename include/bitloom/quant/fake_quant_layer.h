// The fake-quant node: reals in, reals on the grid (or their codes) out; weights and activations
// alike.
// Comes from: quant/passes.h. Goes to: layers/network.h, deploy.
#pragma once

#include <string>

#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/layer.h"

namespace bitloom::quant {

/// Which rule moves the scale. Words in graphs: "static", "ema", "lsq".
///   static  never moves: PTQ, or a frozen range.
///   ema     activations: range = decay * range + (1 - decay) * (batch min, max) in training, scale
///           from the range; weights: scale from min, max of each channel at every step.
///           Source: Jacob et al., arXiv:1712.05877, section 3.1.
///   lsq     learned by gradient. Source: Esser et al., arXiv:1902.08153; gradient scale
///           1 / sqrt(count * qmax), count = elements per scale of a weight, per image of an
///           activation. Ours differs: one scale per output channel where axis=0, initial scale
///           from calibration.
enum class QuantizerKind : std::uint8_t { kStatic, kEma, kLsq };
QuantizerKind quantizer_from_word(std::string_view word);  ///< @throws ConfigError

/// A node `fake_quant(x, quantizer=lsq, bits=4, dtype=u8, qmin=0, qmax=15)`.
///
/// Attributes: quantizer; bits; dtype (u8, s8); qmin, qmax; zero_point (default 0); axis=0 for one
///   scale per output channel (weights; absent: per tensor); decay (ema); share=NODE to use another
///   fake_quant node's scale as a constant; output=codes to emit codes (integer forward) instead of
///   reals.
/// Parameters: "<node>.scale" [1] or [O]; ema activations also "<node>.range" [2] (min, max).
/// Forward:  y = dequantize(quantize(x)) of integer/affine.h.
/// Backward: straight-through with clipping mask, kernels/fake_quant.h.
/// @throws NumericError in forward if a scale is not finite or fell to kSmallestScale.
class FakeQuantLayer final : public layers::Layer {
 public:
  explicit FakeQuantLayer(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 private:
  void observe(ConstTensorView x);
  void check_scales() const;

  std::string name_;
  QuantizerKind kind_;
  bool is_weight_;
  double decay_;
  float gradient_scale_;
  layers::Edge edge_;
  integer::AffineFormat format_;
  kernels::RowsFormat rows_;
  layers::Parameter* scale_;
  layers::Parameter* range_ = nullptr;
  bool shared_;
};

/// Format that a fake_quant node's attributes describe.
/// @throws ConfigError naming the node for bits, range or zero point that contradict each other.
integer::AffineFormat format_of(const layers::Node& node);
bool is_fake_quant(const layers::Node& node);
/// Name of the scale parameter: the node's own, or that of the node it shares.
std::string scale_name(const layers::Node& node);

}  // namespace bitloom::quant
