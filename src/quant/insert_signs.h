// The pass that gives a float graph activations of one bit; its text is in quant/passes.h.
// Goes to: insert_fake_quant.cpp.
#pragma once

#include "bitloom/layers/graph.h"
#include "quantizer_nodes.h"

namespace bitloom::quant {

/// insert_fake_quant() for options.activation_bits = 1. @pre the graph has no fake_quant node.
layers::Graph insert_signs(const layers::Graph& graph, const QuantOptions& options,
                           const QuantizerNodes& nodes, bool input_is_signed);

}  // namespace bitloom::quant
