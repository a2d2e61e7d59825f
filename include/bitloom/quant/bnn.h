// Binarized neural networks: weights and activations of -1 and +1.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/core/random.h"
#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "bnn" on weights.
///
/// Forward:  code = +1 where w >= 0, else -1; scale 1.
/// Backward: dw = dy where |w| <= 1, else 0; the optimizer clips w to [-1, 1] (bound=1).
///
/// Shapes: w, dw [O, I, KH, KW] or [O, I]. Parameters: "<node>.scale" [1] or [O], always 1.
/// Codes: binary.
/// Source: Hubara et al., "Binarized Neural Networks", arXiv:1602.02830, equations 1 and 4,
///   algorithm 1.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BnnWeights final : public LevelQuantizer {
 public:
  explicit BnnWeights(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
};

/// "bnn" on activations: deterministic. "bnn-stochastic": drawn anew at each step.
///
/// Forward, scale 1:
///   bnn:             code = +1 where x >= 0, else -1
///   bnn-stochastic:  in training code = +1 with probability clip((x + 1) / 2, 0, 1), else -1; in
///                    evaluation and export as bnn
/// Backward: dx = dy where |x| <= 1, else 0 (the derivative of hardtanh, the mean of the draws).
/// Draws as binary_connect.h's, of the stream (seed, "bnn/<node>"); "<node>.step" [1]. frozen=1:
/// deterministic.
///
/// Shapes: x, dx [N, C, H, W] or [N, C]. Parameters: "<node>.scale" [1], always 1. Codes: binary.
/// Source: Hubara et al., arXiv:1602.02830, equations 1, 2 and 4 (hard sigmoid: equation 3).
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BnnActivations final : public LevelQuantizer {
 public:
  explicit BnnActivations(const QuantizerContext& context, bool stochastic);

  void observe(ConstTensorView x) override;
  void settle(ConstTensorView x) override;
  void write_codes(ConstTensorView x, std::int8_t* codes) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;

 private:
  layers::Parameter* step_ = nullptr;  // stochastic only
  RandomStream random_;
  bool draws_ = false;  // this forward is one of training
};

}  // namespace bitloom::quant
