// Binary weights with a scale per output channel.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "bwn" and "xnor" on weights.
///
/// Forward, n weights in channel o:
///   alpha[o] = sum_i |w[o,i]| / n;  y[o,i] = alpha[o] * (+1 where w[o,i] >= 0, else -1)
/// Backward:
///   bwn:   dw = dy
///   xnor:  dw[i] = alpha * dy[i] * [|w[i]| <= 1] + sign(w[i]) / n * sum_j sign(w[j]) * dy[j]
/// frozen=1: alpha stays, and so the sum over j falls away.
///
/// Activations of a network "xnor" with one bit are "bnn"'s signs; each convolution's output is
/// multiplied by the graph's k_map of its real input (layers' k_map and scale_map).
/// Shapes: w, y, dy, dw [O, I, KH, KW] or [O, I]. Parameters: alpha "<node>.scale" [O] (weight=1:
/// [1], over the tensor), unit of w. Codes: binary.
/// Source: Rastegari et al., "XNOR-Net", arXiv:1603.05279, equations 6 and 8, algorithm 1 (which
///   updates w with the gradient of y: bwn), and section 3.1's gradient (xnor). Ours differs: that
///   one, printed as dy[i] * (1/n + alpha * [|w[i]| < 1]), is taken as the whole chain rule of
///   alpha, as their published code has it.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BwnWeights final : public LevelQuantizer {
 public:
  BwnWeights(const QuantizerContext& context, bool through_alpha);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;

 private:
  bool through_alpha_;
};

}  // namespace bitloom::quant
