// Activations clipped at a learned value.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// "pact": PArameterized Clipping acTivation. Weights of the same network take "dorefa".
///
/// Forward:  s = alpha / (qmax - z);  y = s * (round(clamp(x / s + z, qmin, qmax)) - z),
///   so an unsigned activation is clipped to [0, alpha], a signed one to about [-alpha, alpha].
/// Backward: dx = dy where qmin <= x / s + z <= qmax, else 0;
///   dalpha = sum of dy above + (qmin - z) / (qmax - z) * sum of dy below + alpha_decay * alpha
///
/// Attributes: alpha_decay (L2 decay of alpha; 0: none). Parameters: "<node>.alpha" [1], unit of x,
///   learned; "<node>.scale" [1].
/// Source: Choi et al., "PACT: Parameterized Clipping Activation for Quantized Neural Networks",
///   arXiv:1805.06085, equations 1 to 3. Ours differs: alpha starts at the calibrated clip, not at
///   a large constant; x = alpha counts as inside; signed tensors (shortcuts) are clipped on both
///   sides, where the paper has ReLU outputs only.
/// Golden: tests/golden/qat.h5, made by tools/golden/qat.py.
class PactQuantizer final : public Quantizer {
 public:
  /// @throws ConfigError naming the node if it quantizes a weight.
  explicit PactQuantizer(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
  bool learns() const override { return true; }
  void learn(std::span<const kernels::GradientSums> sums) override;
  void forget() override;

 private:
  float levels_above() const;
  double alpha_decay_;
  layers::Parameter* alpha_;
};

}  // namespace bitloom::quant
