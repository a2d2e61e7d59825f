// What the quantizers of one and two bits share: sign or a threshold decides on a code, and no
// rounding does.
// Comes from: a node's attributes. Goes to: fake_quant_layer.h, deploy (codes of weights). One page
// each: binary_connect.h, bnn.h, xnor_net.h, dorefa.h, bi_real.h, reactnet.h, twn.h, ttq.h.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "bitloom/kernels/few_levels.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// The scale of weights that are all zero, so that 1 / scale stays finite.
inline constexpr float kDeadScale = 1e-10F;

/// A quantizer whose node says grid=binary (codes -1, +1) or grid=ternary (-1, 0, +1).
///
/// Weights keep a latent real w of which training sees the codes alone:
///   binary:  code = +1 where w >= 0, else -1
///   ternary: code = +1 where w > t, -1 where w < -t, else 0; t is "<node>.threshold" [1] or [O]
/// and the step that the gradient of the codes asks for is done on w.
///
/// Attributes of a weight's node: bound=B keeps w in [-B, B] after each step of the optimizer;
///   lr_scaling=glorot gives w the learning rate of BinaryConnect: times 1 / h with adam's kin,
///   1 / h^2 with sgd, h = sqrt(1.5 / (fan_in + fan_out)), fan_out = O * KH * KW.
/// Sources: Courbariaux et al., "BinaryConnect", arXiv:1511.00363, sections 2.4 and 2.5, and its
///   published code (for convolutions).
class LevelQuantizer : public Quantizer {
 public:
  LevelQuantizer* levels() override { return this; }

  /// After settle(): s8 codes of x, contiguous.
  virtual void write_codes(ConstTensorView x, std::int8_t* codes);
  /// The reals that codes stand for: scale * code.
  virtual void write_reals(const std::int8_t* codes, TensorView y) const;
  /// dx (empty where nobody asks for it) from dy, the gradient of the reals; and the gradients of
  /// what is learned.
  virtual void backward(ConstTensorView x, ConstTensorView dy, TensorView dx) = 0;
  /// The same, added to what dx holds; only where adds_gradients().
  virtual bool adds_gradients() const { return false; }
  virtual void add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx);
  /// Whether dy and dx may be bf16, each for itself (not what is added to).
  virtual bool takes_bf16_gradients() const { return false; }
  /// Whether codes are +1 where x >= threshold[c], else -1, with the gradient of
  /// ApproxSignGradient: then the chain in front may give both (quant/carried_signs.h). Thresholds:
  /// nullptr for 0.
  virtual bool approximates_sign() const { return false; }
  virtual layers::Parameter* sign_thresholds() { return nullptr; }
  bool moves() const { return moves_; }

 protected:
  /// @throws ConfigError naming the node if `weight` says otherwise than the node, or the grid is
  ///         not `grid`.
  LevelQuantizer(const QuantizerContext& context, bool weight, integer::Grid grid, bool learned);

  /// Rows of a weight that share a scale, and their length.
  std::int64_t rows() const { return scale_->value.elements(); }
  std::int64_t cols() const { return counted(); }
  /// scale = mean|x| of each row; kDeadScale for a row of zeros.
  void follow_mean_magnitude(ConstTensorView x);

  bool moves_;                               ///< frozen=1: no
  std::vector<kernels::MagnitudeSum> sums_;  ///< room for one a row

 private:
  void describe_latent(const QuantizerContext& context);
};

/// A ternary quantizer of weights: "<node>.threshold" [1] or [O], unit of w, belongs to the grid as
/// the scale does: it runs, is kept and exported.
class TernaryQuantizer : public LevelQuantizer {
 public:
  void write_codes(ConstTensorView x, std::int8_t* codes) override;

 protected:
  TernaryQuantizer(const QuantizerContext& context, bool learned);

  std::span<float> thresholds() { return threshold_->value.span<float>(); }
  float threshold_at(std::int64_t row) const {
    return threshold_->value.data<float>()[threshold_->value.elements() > 1 ? row : 0];
  }

 private:
  layers::Parameter* threshold_;
};

/// s8 codes of a weight whose node says grid=binary or grid=ternary, by the thresholds of now.
void write_level_codes(const layers::Node& node, const layers::ParameterStore& store,
                       ConstTensorView weight, std::int8_t* codes);

}  // namespace bitloom::quant
