// Weights squashed by tanh, activations clipped to [0, 1].
// Goes to: fake_quant_layer.h through make_quantizer, deploy through weight_codes.
#pragma once

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "dorefa" on weights.
///
/// Forward, m = max |tanh(w)| over the tensor (axis=0: over an output channel):
///   s = m / qmax (times 1 + 2^-21);  y = s * round(clamp(tanh(w) / s, qmin, qmax))
/// Backward: dw = dy * (1 - tanh(w)^2): tanh(w) never leaves the grid while it follows m; m counts
///   as a constant. frozen=1: s stays, and dw = 0 where tanh(w) has left the grid.
///
/// Codes: symmetric, [-qmax, qmax], qmax = 2^(b-1) - 1. Parameters: "<node>.scale" [1] or [O].
/// Source: Zhou et al., "DoReFa-Net", arXiv:1606.06160, equation 9, y = 2 * round((2^b - 1) *
///   (tanh(w) / (2 m) + 1/2)) / (2^b - 1) - 1. Ours differs: 2^b - 1 levels with real 0 among them
///   (the paper's 2^b levels are odd multiples of 1 / (2^b - 1), which need one bit more as
///   symmetric integers); and y keeps the factor m, so that float weights are a good start and a
///   layer without batch norm keeps its size.
/// Golden: tests/golden/qat.h5, made by tools/golden/qat.py.
class DorefaWeights final : public Quantizer {
 public:
  /// `moves` false: the scale stays where it is (frozen=1).
  DorefaWeights(const QuantizerContext& context, bool moves);

  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
  ConstTensorView transformed(ConstTensorView x) override;
  void transform_backward(ConstTensorView x, TensorView dx) override;

 private:
  bool moves_;
  Tensor tanh_;
};

/// "dorefa" on weights of one bit (grid=binary).
///
/// Forward, over the tensor (weight=1): y = E|w| * (+1 where w >= 0, else -1)
/// Backward: dw = dy; E|w| counts as a constant. frozen=1: E|w| stays.
///
/// Codes: binary. Parameters: E|w| "<node>.scale" [1] (axis=0: [O], per output channel), unit of w.
/// Source: Zhou et al., arXiv:1606.06160, equation 8.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class DorefaBinaryWeights final : public LevelQuantizer {
 public:
  explicit DorefaBinaryWeights(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
};

/// "dorefa" on activations: a grid over [0, 1] that never moves, s = 1 / (qmax - z); signed tensors
/// (shortcuts; the paper has none) get about [-1, 1].
///
/// Backward: dx = dy inside, else 0.
/// Source: Zhou et al., arXiv:1606.06160, section 2.3, h(x) = min(1, |x|)'s bounded activation.
class DorefaActivations final : public Quantizer {
 public:
  explicit DorefaActivations(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
};

/// tanh of every element, by std::tanh: the same bits in training and in export.
Tensor tanh_of(ConstTensorView x);

}  // namespace bitloom::quant
