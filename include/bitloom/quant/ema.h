// Ranges that follow the data: moving averages of activations, least and greatest weight.
// Goes to: fake_quant_layer.h through make_quantizer.
#pragma once

#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// "ema": scales from ranges.
///
/// Activations, at each training step: range = decay * range + (1 - decay) * (min, max) of the
///   batch, s = scale_for_range(range); the first batch sets the range. Nodes that say share=NODE,
///   joined=1 (inputs of one concat) widen the range to hold their batch, which counts from the
///   next step on: it shrinks back by the decay where no batch needs it.
/// Weights, always: s from min and max of each channel (axis=0) or of all, times 1 + 2^-21.
/// Backward: dx = dy where qmin <= x / s + z <= qmax, else 0; the range counts as a constant.
///
/// Attributes: decay (default 0.99). Parameters: "<node>.scale" [1] or [O]; activations also
///   "<node>.range" [2] (min, max), unit of x.
/// Source: Jacob et al., arXiv:1712.05877, section 3.1.
class EmaQuantizer final : public Quantizer {
 public:
  explicit EmaQuantizer(const QuantizerContext& context);

  void observe(ConstTensorView x) override;
  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
  void forget() override;

 private:
  double decay_;
  layers::Parameter* range_ = nullptr;  // activations
};

/// The range of a joined node's owner takes in all of x: [min(range, x), max(range, x)].
void widen_range(layers::Parameter& range, ConstTensorView x);

}  // namespace bitloom::quant
