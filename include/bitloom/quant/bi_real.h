// Bi-Real Net: signs whose gradient comes from a smoother stand-in.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "bi-real" on weights (ReActNet's too).
///
/// Forward:  alpha[o] = mean |w[o]|;  y = alpha[o] * (+1 where w >= 0, else -1)
/// Backward: dw = dy where |w| <= 1, else 0; alpha counts as a constant.
///
/// Shapes: w, dw [O, I, KH, KW] or [O, I]. Parameters: alpha "<node>.scale" [O] (weight=1: [1]),
/// unit of w. Codes: binary.
/// Source: Liu et al., "Bi-Real Net", arXiv:1808.00278, section 3.3 (magnitude-aware gradient).
///   Ours differs: alpha per output channel, as in their published code.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BiRealWeights final : public LevelQuantizer {
 public:
  explicit BiRealWeights(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
};

/// "bi-real" on activations.
///
/// Forward:  code = +1 where x >= 0, else -1; scale 1.
/// Backward: dx = dy * (2 - 2 |x|) where |x| < 1, else 0: the derivative of the piecewise quadratic
///           ApproxSign(x) = 2x + x^2 in [-1, 0), 2x - x^2 in [0, 1).
///
/// Shapes: x, dx [N, C, H, W] or [N, C]. Parameters: "<node>.scale" [1], always 1. Codes: binary.
/// Source: Liu et al., arXiv:1808.00278, equations 6 and 7.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BiRealActivations final : public LevelQuantizer {
 public:
  explicit BiRealActivations(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
  bool adds_gradients() const override { return true; }
  void add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
  bool takes_bf16_gradients() const override { return true; }
  bool approximates_sign() const override { return true; }
};

}  // namespace bitloom::quant
