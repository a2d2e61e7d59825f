// Weights of -1 and +1 under activations of any width.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/core/random.h"
#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "binary-connect": deterministic. "binary-connect-stochastic": drawn anew at each step.
///
/// Forward, scale 1:
///   binary-connect:             code = +1 where w >= 0, else -1
///   binary-connect-stochastic:  in training code = +1 with probability
///                               p = clip((w + 1) / 2, 0, 1) (hard sigmoid), else -1;
///                               in evaluation and export as binary-connect
/// Backward: dw = dy; the optimizer clips w to [-1, 1] (bound=1).
/// Draw i of step n is number 2^34 * n + i of the stream (seed, "binary-connect/<node>");
/// "<node>.step" [1] counts the training steps. frozen=1: deterministic.
///
/// Shapes: w, dw [O, I, KH, KW] or [O, I]. Parameters: "<node>.scale" [1] or [O], always 1.
/// Codes: binary.
/// Source: Courbariaux et al., "BinaryConnect", arXiv:1511.00363, equations 1 to 3 and algorithm 1.
///   Ours differs: the stochastic kind too is evaluated with binary weights (their method 1); they
///   evaluate it with the real ones, which no integer model could run.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class BinaryConnectWeights final : public LevelQuantizer {
 public:
  explicit BinaryConnectWeights(const QuantizerContext& context, bool stochastic);

  void observe(ConstTensorView x) override;
  void settle(ConstTensorView x) override;
  void write_codes(ConstTensorView x, std::int8_t* codes) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;

 private:
  layers::Parameter* step_ = nullptr;  // stochastic only
  RandomStream random_;
  bool draws_ = false;  // this forward is one of training
};

/// codes[i] = +1 where (x[i] + 1) / 2 >= u, number `first` + i of `random`, else -1. Rounded once:
/// u < 1, so x >= 1 is always +1; x < -1 is always -1.
void draw_signs(ConstTensorView x, const RandomStream& random, std::uint64_t first,
                std::int8_t* codes);

}  // namespace bitloom::quant
