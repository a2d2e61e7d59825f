// The rule behind a fake_quant node: how its scale and zero point follow from data, from the
// weights, or from gradients.
// Comes from: a node's attributes. Goes to: fake_quant_layer.h (forward, backward), deploy (codes
// of weights). One page each: ema.h, lsq.h, pact.h, dorefa.h; one and two bits: levels.h.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "bitloom/core/tensor.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::quant {

/// Words in graphs: "static", "ema", "lsq", "lsq+", "pact", "dorefa"; on grids of one and two bits
/// "binary-connect", "binary-connect-stochastic", "bnn", "bnn-stochastic", "bwn", "xnor",
/// "bi-real", "rsign", "twn", "twn-exact", "ttq", and "dorefa" on a binary weight.
enum class QuantizerKind : std::uint8_t {
  kStatic,
  kEma,
  kLsq,
  kLsqPlus,
  kPact,
  kDorefa,
  kBinaryConnect,
  kBinaryConnectStochastic,
  kBnn,
  kBnnStochastic,
  kBwn,
  kXnor,
  kBiReal,
  kRsign,
  kTwn,
  kTwnExact,
  kTtq
};
QuantizerKind quantizer_from_word(std::string_view word);  ///< @throws ConfigError

/// Scales that follow the largest weight are that much larger, so that the roundings of 1/s and
/// w * (1/s) do not put it an ulp outside of the grid, where its gradient would be cut off.
inline constexpr float kScaleSlack = 1.0F + 0x1p-21F;

class LevelQuantizer;

/// What a quantizer is made from.
struct QuantizerContext {
  const layers::Node& node;
  Shape input;  ///< of the tensor that is quantized; [N, ...] for activations
  layers::ParameterStore& parameters;
};

/// Grid of one node. "<node>.scale" [1] or [O] is always the scale that runs and is exported; where
/// something else is learned ("<node>.alpha", "<node>.offset", "<node>.real_scale"), settle()
/// derives the scale and the zero point from it.
///
/// Attributes of the node: quantizer; bits, dtype, qmin, qmax, zero_point, grid=affine|binary|
///   ternary (the format; integer/affine.h); axis=0 for one scale per output channel, weight=1 for
///   one per weight tensor; power_of_two=1 rounds the scale that runs to a power of two (in the
///   forward pass; see lsq.h for the gradient); frozen=1: nothing moves any more, nothing is
///   learned.
class Quantizer {
 public:
  virtual ~Quantizer() = default;
  Quantizer(const Quantizer&) = delete;
  Quantizer& operator=(const Quantizer&) = delete;

  /// Before settle() in training: activations may follow what they see.
  virtual void observe(ConstTensorView x);
  /// Scale and zero point from what was learned, or from `x` where x is a weight.
  virtual void settle(ConstTensorView x);
  /// First values of what is learned, from the calibrated scale.
  virtual void start(ConstTensorView x);
  /// What is put on the grid: x, or a function of it (valid until the next call).
  virtual ConstTensorView transformed(ConstTensorView x);
  /// dx *= derivative of transformed() at x.
  virtual void transform_backward(ConstTensorView x, TensorView dx);
  /// True if backward has to hand over its sums.
  virtual bool learns() const;
  /// Writes the gradients of what is learned. @pre learns(); one entry a scale.
  virtual void learn(std::span<const kernels::GradientSums> sums);
  /// Drops what only learning needed, so that the grid stays as it is now.
  virtual void forget();
  /// Itself where no rounding makes the codes (grid=binary, grid=ternary); else nullptr, and the
  /// codes are integer/affine.h's.
  virtual LevelQuantizer* levels() { return nullptr; }

  /// Format with the zero point of now.
  const integer::AffineFormat& format() const { return format_; }
  const layers::Parameter& scale() const { return *scale_; }
  /// [1], where it moves; else nullptr.
  const layers::Parameter* zero_point() const { return zero_point_; }

 protected:
  /// Declares "<node>.scale"; learned says that the optimizer moves it itself.
  Quantizer(const QuantizerContext& context, bool learned);

  /// f32 [1] or [O] in the unit of the tensor.
  std::span<float> scales() { return scale_->value.span<float>(); }
  /// The scale that runs for a wanted one.
  float usable(float wanted) const;
  /// Gradient of the first scale. @pre the scale is learned.
  float& scale_gradient() { return scale_->gradient.data<float>()[0]; }
  /// "<node><word>" leaves the optimizer with the value of now.
  layers::Parameter& keep_still(std::string_view word);
  /// Elements that share a scale: of a weight; of one image of an activation.
  std::int64_t counted() const { return counted_; }

  std::string name_;
  layers::ParameterStore& store_;
  integer::AffineFormat format_;
  bool is_weight_;
  bool per_channel_;
  bool power_of_two_;
  layers::Parameter* scale_;
  layers::Parameter* zero_point_ = nullptr;

 private:
  std::int64_t counted_;
};

/// The quantizer that a fake_quant node names; frozen nodes get one that keeps still.
/// @throws ConfigError naming the node for a word that is unknown or does not fit its tensor.
std::unique_ptr<Quantizer> make_quantizer(const QuantizerContext& context);

/// Format that a fake_quant node's attributes describe.
/// @throws ConfigError naming the node for bits, range or zero point that contradict each other.
integer::AffineFormat format_of(const layers::Node& node);
bool is_fake_quant(const layers::Node& node);
/// True if the node says that it quantizes a weight (axis, or weight=1).
bool quantizes_weight(const layers::Node& node);
/// Name of the scale parameter: the node's own, or that of the node it shares.
std::string scale_name(const layers::Node& node);

/// First learned values of every node of a calibrated graph, then as settle_quantizers.
void start_quantizers(layers::Graph& graph, layers::ParameterStore& store);
/// Scales and zero points of every node as the parameters of now give them; zero points go into the
/// graph too. Idempotent, and training goes on the same with it or without: the loop calls it
/// before it validates and before it saves, so that what is read there is what would run.
void settle_quantizers(layers::Graph& graph, layers::ParameterStore& store);
/// frozen=1 on every fake_quant node: scales and zero points keep the values of now, and leave the
/// optimizer. Source: the "range freeze" of Krishnamoorthi, arXiv:1806.08342, section 3.2.3.
void freeze_ranges(layers::Graph& graph, layers::ParameterStore& store);

/// s8 codes of the weight behind a fake_quant node, as its quantizer writes them.
Tensor weight_codes(const layers::Node& node, const layers::ParameterStore& store);

}  // namespace bitloom::quant
