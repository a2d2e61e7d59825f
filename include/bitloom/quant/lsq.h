// Learned scales, and learned offsets of signed activations.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// "lsq": Learned Step Size Quantization. "lsq+": the same with a learned offset.
///
/// Forward, with v = x / s + z:
///   y = s * (round(clamp(v, qmin, qmax)) - z)
///   lsq:  z is the node's zero_point and stays
///   lsq+: z = clamp(round(-beta / s), qmin, qmax): the learned real offset beta on the integer
///         grid, so real 0 stays exact and what is trained is what runs
/// Backward: dx = dy where qmin <= v <= qmax, else 0;
///   lsq:  ds = g * sum dy * ( round(v) - v inside, qmin - z below, qmax - z above )
///   lsq+: ds = g * sum dy * ( round(v) - v inside, qmin below, qmax above )
///         dbeta = g * sum dy * ( 0 inside, 1 outside )     straight through the rounding of z
///   g = 1 / sqrt(count * qmax); count = elements per scale of a weight, per image of an
///   activation.
/// power_of_two=1: "<node>.real_scale" r is learned and s = power_of_two_scale(r) runs; straight
///   through the rounding of the exponent, log2 s = log2 r + const, so dr = ds * s / r.
///
/// Parameters: s "<node>.scale" [1] or [O], unit of x; lsq+: beta "<node>.offset" [1], unit of x,
///   and z "<node>.zero_point" [1].
/// Codes: any format; lsq+ wants unsigned activations (asymmetric=1).
/// Source: Esser et al., "Learned Step Size Quantization", arXiv:1902.08153; Bhalgat et al., "LSQ+:
///   Improving low-bit quantization through learnable offsets and better initialization",
///   arXiv:2004.09576, equations 3 to 6. Ours differs: one scale per output channel where axis=0;
///   first values from calibration; the offset is rounded to the grid, where the paper adds a real
///   one after dequantization (real 0 would fall between codes, and padding with it).
/// Golden: tests/golden/qat.h5, made by tools/golden/qat.py.
class LsqQuantizer final : public Quantizer {
 public:
  /// @throws ConfigError naming the node for lsq+ on a weight or on signed codes.
  explicit LsqQuantizer(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
  bool learns() const override { return true; }
  void learn(std::span<const kernels::GradientSums> sums) override;
  void forget() override;

 private:
  layers::Parameter* learned_;           // the scale, or real_scale
  layers::Parameter* offset_ = nullptr;  // lsq+
  double gradient_scale_;
};

}  // namespace bitloom::quant
