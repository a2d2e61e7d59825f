// What a running fake_quant node reads of a grid that is another node's, and of any scale.
// Goes to: fake_quant_layer.cpp, activation_grid.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "bitloom/layers/layer.h"

namespace bitloom::quant {

/// The zero point of the grid that a node shares, where that moves; else nullptr.
const layers::Parameter* shared_zero_point(const layers::LayerContext& context);

/// The range of the shared grid that a joined node's values widen, where its owner follows one;
/// else nullptr.
layers::Parameter* joined_range(const layers::LayerContext& context);

/// @throws NumericError naming "<node>.scale[index]" unless the scale is finite and above
/// kSmallestScale.
void check_scale(const std::string& node, std::int64_t index, float scale);

}  // namespace bitloom::quant
