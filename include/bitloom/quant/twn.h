// Ternary weight networks.
// Goes to: fake_quant_layer.h through make_quantizer, deploy through weight_codes.
#pragma once

#include <vector>

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "twn": threshold by the rule of thumb. "twn-exact": the threshold of least squared error.
///
/// Forward, per output channel o (weight=1: over the tensor):
///   twn:        t = 0.7 * mean |w[o]|
///   twn-exact:  t so that S(t)^2 / k(t) is greatest, S the sum and k the count of |w[o]| above t:
///               then |w - y|^2 = |w|^2 - S^2 / k is least
///   alpha[o] = S(t) / k(t), or 1e-10 where nothing passes
///   y = alpha[o] * (+1 where w > t, -1 where w < -t, else 0)
/// Backward: dw = dy; t and alpha count as constants. frozen=1: t and alpha stay.
///
/// Shapes: w, y, dy, dw [O, I, KH, KW] or [O, I]. Parameters: alpha "<node>.scale" and t
/// "<node>.threshold", both [O] (weight=1: [1]), unit of w. Codes: ternary.
/// Source: Li et al., "Ternary Weight Networks", arXiv:1605.04711, equations 4 to 6. Ours differs:
///   threshold and scale per output channel, not per layer, unless per_channel=false; the exact
///   optimum by sorting, where they take the rule of thumb for a normal distribution.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class TwnWeights final : public TernaryQuantizer {
 public:
  TwnWeights(const QuantizerContext& context, bool exact);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;

 private:
  void find_thresholds(ConstTensorView x);

  bool exact_;
  std::vector<float> sorted_;  // exact only
};

}  // namespace bitloom::quant
