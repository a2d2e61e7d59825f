// The fake-quant node: reals in, reals on the grid (or their codes) out; weights and activations
// alike.
// Comes from: quant/passes.h. Goes to: layers/network.h, deploy.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "bitloom/layers/layer.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// A node `fake_quant(x, quantizer=lsq, bits=4, dtype=u8, qmin=0, qmax=15)`.
///
/// Attributes: those of its quantizer (quantizer.h and the page of each word); share=NODE to use
///   another fake_quant node's grid as a constant (joined=1: the grid holds this node's values too,
///   see ema.h); output=codes to emit codes (integer forward)
///   instead of reals; input=codes where the input is divided by the scale already and has the zero
///   point in it (exported_layers.h): forward rounds and clips, gradients are those of reals;
///   replaces=OP: the activation function that the node stands for (passes.h); no effect here.
/// Parameters: the quantizer's, "<node>.scale" [1] or [O] always.
/// Forward:  y = dequantize(quantize(x)) of integer/affine.h, x as the quantizer transforms it.
/// Backward: straight-through with clipping mask, kernels/fake_quant.h; the quantizer makes the
///   gradients of what it learns from the sums.
/// Grids of one and two bits: forward and backward are their quantizers' own (levels.h).
/// @throws NumericError in forward if a scale is not finite or fell to kSmallestScale.
class FakeQuantLayer final : public layers::Layer {
 public:
  explicit FakeQuantLayer(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

 private:
  void check_scales() const;
  void forward_levels(const layers::ForwardCall& call);

  std::string name_;
  bool bf16_;                             // gradients may be, where the quantizer takes them
  bool source_scaled_;                    // the input's gradient in bf16 would take a factor
  std::unique_ptr<Quantizer> quantizer_;  // nullptr where another node's grid is shared
  const layers::Parameter* scale_;
  const layers::Parameter* zero_point_;
  layers::Parameter* joined_range_ = nullptr;  // of the owner, where it follows this node too
  layers::Edge edge_;
  kernels::RowsFormat rows_;
  bool takes_codes_ = false;
  std::vector<kernels::GradientSums> sums_;
  ConstTensorView quantized_;  // what forward put on the grid
};

}  // namespace bitloom::quant
