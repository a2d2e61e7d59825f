// What stands between two products, in one pass forward and one (with batch norm two) backward:
// batch norm, the shortcut of a residual, a rectifier or a clip, a quantizer.
// Comes from: quant/passes.h (fuse_chains); registry.cpp (batch_norm). Goes to: layers/network.h.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "bitloom/kernels/elementwise_chain.h"
#include "bitloom/layers/layer.h"

namespace bitloom::layers {

class ChannelNorm;
class ChannelRectifier;

/// What a chain that ends in codes asks of its grid.
class ChainGrid {
 public:
  virtual ~ChainGrid() = default;
  /// Type, format, live scale and zero point of the codes.
  virtual const Edge& codes() const = 0;
  /// True if each training batch's range has to be told before settle().
  virtual bool follows() const = 0;
  virtual void follow(const kernels::MinMax& batch) = 0;
  /// Scale and zero point of now.
  virtual void settle() = 0;
  /// True if backward has to hand over its sums.
  virtual bool learns() const = 0;
  virtual void learn(const kernels::GradientSums& sums) = 0;
};

/// Signs of a chain's reals that it writes beside them: a reader's, which it carries.
class ChainSigns {
 public:
  virtual ~ChainSigns() = default;
  /// Scale and thresholds of now.
  virtual void settle() = 0;
  /// [C], or nullptr: 0.
  virtual const float* thresholds() const = 0;
  /// Where their gradient goes; empty: they do not learn.
  virtual std::span<float> threshold_gradient() = 0;
};

/// `batch_norm(x, epsilon=1e-5, momentum=0.1, frozen=0)` and
/// `fused(x [, shortcut], norm=B, epsilon=1e-5, momentum=0.1, norm_frozen=0, rectifier=, low=,
/// high=)`.
///
/// Forward:  batch norm with the parameters "B.gamma", "B.beta", "B.running_mean", "B.running_var"
///           (norm absent: none); + shortcut, reals or codes; prelu or rprelu with the parameters
///           "<node>.slope", .threshold, .offset (rectifier absent: none); min(max(x, low), high)
///           (both absent: none, one absent: no bound there); then reals, or codes where there is a
///           grid. The same numbers as the layers one after another: kernels/elementwise_chain.h.
/// Backward: those layers' gradients. Kept from forward are the inputs alone (with a shortcut of
///           reals and a clip, or signs without a rectifier, also the output): what lies between is
///           computed again.
/// Training normalizes by the batch's statistics and moves the running ones; evaluation normalizes
/// by the running ones, and so does training where (norm_)frozen=1; they keep still then.
/// A rectifier stands behind a batch norm and has neither clip nor grid behind it.
/// Carries (Layer::carry) one reader that is a ChainSigns, where it normalizes and neither clips
/// nor has a grid: its codes and their gradient, ApproxSignGradient of kernels/few_levels.h.
/// With a batch norm x may be a product's sums instead of reals (Edge::dtype).
/// Shapes: x, shortcut and output [N, C, H, W] or [N, C].
/// @throws ConfigError, ShapeError naming the node for attributes or inputs that do not fit.
class FusedChain final : public Layer {
 public:
  /// grid may be nullptr: the output is reals.
  explicit FusedChain(const LayerContext& context, std::unique_ptr<ChainGrid> grid = nullptr);
  ~FusedChain() override;

  const Edge& output() const override { return edge_; }
  LayerMemory memory() const override;
  void forward(const ForwardCall& call) override;
  void backward(const BackwardCall& call) override;
  void carry(Layer& reader) override;

 private:
  bool has_shortcut() const { return shortcut_.shape.rank() > 0; }
  bool masks() const { return chain_.clips || chain_.quantizes; }
  bool masks_by_output() const;
  void read_clip(const LayerContext& context);
  void read_rectifier(const LayerContext& context);
  void read_shortcut(const LayerContext& context);
  void learn_rectifier(const kernels::ChainGradients& sums);
  void point_at(std::span<const ConstTensorView> inputs);

  Edge edge_;
  DType source_dtype_;
  Edge shortcut_;
  const float* source_factor_ = nullptr;         // the source's Edge::gradient_factor
  bool bf16_ = false;                            // gradients may be
  std::unique_ptr<ChannelNorm> norm_;            // nullptr where nothing is normalized
  std::unique_ptr<ChannelRectifier> rectifier_;  // nullptr where nothing is rectified
  std::unique_ptr<ChainGrid> grid_;
  ChainSigns* signs_ = nullptr;         // the reader that is carried
  std::vector<double> sign_sums_;       // [C], of the thresholds' gradient
  std::vector<double> rectifier_sums_;  // [2][C], of the slopes' and the offsets' gradients
  kernels::ElementwiseChain chain_;
  std::vector<kernels::MinMax> ranges_;  // a channel each, where the grid follows them
};

}  // namespace bitloom::layers
