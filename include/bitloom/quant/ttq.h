// Trained ternary quantization: one learned scale for the positive weights, one for the negative.
// Goes to: fake_quant_layer.h through make_quantizer, deploy.
#pragma once

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "ttq" on weights.
///
/// Forward, over the tensor (per layer, weight=1):
///   t = 0.05 * max |w|
///   code = +1 where w > t, -1 where w < -t, else 0
///   y = Wp where code = +1, -Wn where code = -1, 0 where code = 0
/// Backward:
///   dWp = mean dy where code = +1;  dWn = -mean dy where code = -1
///   dw = Wp * dy where code = +1, Wn * dy where code = -1, dy where code = 0
/// frozen=1: t, Wp and Wn stay.
///
/// A layer y = conv(x, w) of codes x of scale s_x (zero point 0; x itself where it is real) is,
/// with acc_pos and acc_neg the exact sums of x over the weights of code +1 and of code -1,
///   y[o] = s_x * (Wp * acc_pos[o] - Wn * acc_neg[o]) + bias[o]
/// This is the exported form: ternary codes, Wp in "<node>.scale", Wn in "<node>.negative_scale".
/// One scale a channel cannot say it, so in training such a layer computes on reals
/// (use_integer_forward leaves it alone).
///
/// Shapes: w, y, dy, dw [O, I, KH, KW] or [O, I]. Parameters: Wp "<node>.scale" [1] and Wn
/// "<node>.negative_scale" [1] (learned, unit of w, above 0), t "<node>.threshold" [1]. Codes:
/// ternary.
/// Source: Zhu et al., "Trained Ternary Quantization", arXiv:1612.01064, equations 6 to 9. Ours
///   differs: w is not divided by its largest magnitude first (t follows it instead); dWn has the
///   sign of the chain rule (printed as +sum dy); both are means where the paper
///   has sums, so that a scale moves as the mean of its weights would if they were free: with sums,
///   even over sqrt(count), lenet5's fully connected layer (1.6 million weights, no batch norm
///   behind it) drove its scales apart until every ReLU was silent; first values Wp, Wn are the
///   mean |w| of their codes.
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class TtqWeights final : public TernaryQuantizer {
 public:
  /// @throws ConfigError naming the node for one scale per channel (axis).
  explicit TtqWeights(const QuantizerContext& context);

  /// @throws NumericError naming the scale if Wn is not finite or not above 1e-12 (FakeQuantLayer
  ///         says so of Wp).
  void settle(ConstTensorView x) override;
  void start(ConstTensorView x) override;
  void write_reals(const std::int8_t* codes, TensorView y) const override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
  void forget() override;

 private:
  layers::Parameter* negative_scale_;
};

/// True where a node's codes have two scales (quantizer=ttq): no layer can compute with the codes
/// and one scale.
bool has_two_scales(const layers::Node& node);

}  // namespace bitloom::quant
