// Parameters of PReLU and RPReLU, for a layer of its own and for a chain that rectifies.
// Goes to: prelu.cpp, fused_chain.cpp.
#pragma once

#include "bitloom/kernels/rectifier.h"
#include "bitloom/layers/layer.h"

namespace bitloom::layers {

/// "<node>.slope" [C], 0.25 at first; with `shifts` also ".threshold" and ".offset", 0 at first.
/// Formula: kernels/rectifier.h.
class ChannelRectifier {
 public:
  /// Declares them for the channels of input 0.
  ChannelRectifier(const LayerContext& context, bool shifts);

  kernels::RectifierChannels channels() const;
  /// Where the gradients go.
  kernels::RectifierGradients gradients();

 private:
  Parameter* slope_ = nullptr;
  Parameter* threshold_ = nullptr;  // nullptr: 0
  Parameter* offset_ = nullptr;     // nullptr: 0
};

}  // namespace bitloom::layers
