// The grid at the end of a fused chain: a fake_quant node's quantizer, or another's that it shares.
// Goes to: quantized_layers.cpp, as the grid of a layers::FusedChain.
#pragma once

#include <memory>
#include <string>

#include "bitloom/layers/fused_chain.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {

/// True for a fake_quant node whose quantizer can do with what a fused chain tells it: the range of
/// a batch, and the sums of fake_quantize_backward: codes by rounding, nothing transformed.
bool fits_fused_chain(const layers::Node& node);

/// Does for a chain what FakeQuantLayer does for a tensor; the same attributes, parameters, errors.
class ActivationGrid final : public layers::ChainGrid {
 public:
  explicit ActivationGrid(const layers::LayerContext& context);

  const layers::Edge& codes() const override { return codes_; }
  bool follows() const override { return follows_; }
  void follow(const kernels::MinMax& batch) override;
  void settle() override;
  bool learns() const override { return quantizer_ != nullptr && quantizer_->learns(); }
  void learn(const kernels::GradientSums& sums) override { quantizer_->learn({&sums, 1}); }

 private:
  std::string name_;
  std::unique_ptr<Quantizer> quantizer_;  // nullptr where another node's grid is shared
  layers::Parameter* joined_range_ = nullptr;
  bool follows_ = false;
  layers::Edge codes_;
};

/// `fused_quant(x [, shortcut], ...)`: attributes of `fused` (layers/fused_chain.h) and of
/// `fake_quant`; the output is codes.
void add_fused_layers(layers::LayerRegistry& registry);

}  // namespace bitloom::quant
