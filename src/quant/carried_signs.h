// Signs of a stream of reals, written by the chain that makes the stream.
// Comes from: fuse_chains.cpp. Goes to: quantized_layers.cpp, as what a layers::FusedChain carries.
#pragma once

#include <memory>
#include <span>

#include "bitloom/layers/fused_chain.h"
#include "bitloom/quant/levels.h"

namespace bitloom::quant {

/// True for a fake_quant node whose codes and gradient a chain can give.
bool fits_carried_signs(const layers::Node& node);

/// `carried_signs(x)`: a fake_quant node of signs behind a chain that carries it; the same
/// attributes and parameters.
class CarriedSigns final : public layers::Layer, public layers::ChainSigns {
 public:
  explicit CarriedSigns(const layers::LayerContext& context);

  const layers::Edge& output() const override { return edge_; }
  layers::LayerMemory memory() const override;
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& call) override;

  void settle() override { quantizer_->settle({}); }
  const float* thresholds() const override;
  std::span<float> threshold_gradient() override;

 private:
  std::unique_ptr<Quantizer> quantizer_;
  layers::Parameter* thresholds_;  // nullptr: 0
  bool learns_;
  bool bf16_;  // the gradient may be
  layers::Edge edge_;
};

void add_carried_signs(layers::LayerRegistry& registry);

}  // namespace bitloom::quant
