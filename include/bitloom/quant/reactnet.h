// ReActNet: signs around a learned threshold per channel. (Its RPReLU is the layer `rprelu`.)
// Goes to: fake_quant_layer.h through make_quantizer, deploy.
#pragma once

#include <cstddef>
#include <vector>

#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// "rsign" on activations.
///
/// Forward, channel c:  code = +1 where x >= t[c], else -1; scale 1.
/// Backward, v = x - t[c]:  dx = dy * max(0, 2 - 2 |v|);  dt[c] = -sum of dx over the channel.
///
/// Shapes: x, dx [N, C, H, W] or [N, C]. Parameters: t "<node>.threshold" [C], unit of x, learned
/// (role quantizer_offset), 0 at first; "<node>.scale" [1], always 1. Codes: binary.
/// frozen=1: t stays.
/// Source: Liu et al., "ReActNet", arXiv:2003.03488, equations 4 and 6 (their alpha is t).
/// Golden: tests/golden/binary.h5, made by tools/golden/binary.py.
class RsignActivations final : public LevelQuantizer {
 public:
  explicit RsignActivations(const QuantizerContext& context);

  void settle(ConstTensorView x) override;
  void write_codes(ConstTensorView x, std::int8_t* codes) override;
  void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
  bool adds_gradients() const override { return true; }
  void add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) override;
  bool takes_bf16_gradients() const override { return true; }
  bool approximates_sign() const override { return true; }
  layers::Parameter* sign_thresholds() override { return threshold_; }
  void forget() override;

 private:
  void gradient(ConstTensorView x, ConstTensorView dy, TensorView dx, bool adds);

  layers::Parameter* threshold_;
  std::vector<std::byte> scratch_;  // of the sums; as large as the largest batch asked for
};

}  // namespace bitloom::quant
