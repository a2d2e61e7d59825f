// Other widths for a quantized network that is being trained.
// Comes from: a graph of quantize_network(), after some epochs. Goes to: trainers (schedules).
#pragma once

#include <cstdint>

#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/options.h"
#include "bitloom/quant/quantize.h"

namespace bitloom::quant {

/// The graph as insert_fake_quant() makes it with `options` (whose layer_bits are the new widths)
/// on the float network behind `graph`; nothing is frozen in it.
///
/// A node whose codes stay the same keeps its zero point and all parameters. A node that gets
/// another width gets the grid that calibrate() fits to the network of now: for weights the scale
/// that options.weight_observer chooses for the new number of levels (of least squared error for
/// mse and sqnr), for activations that of the values on `batches`; what its quantizer learns starts
/// from there. A scale that kept its step would clip where a few codes end; one that kept its range
/// would clip too late: at 2 bits the clip of least error is a third of that of 8 bits for a normal
/// density.
/// @throws as insert_fake_quant() and calibrate(); of one value only, or not finite: NumericError.
layers::Graph change_bits(const layers::Graph& graph, layers::ParameterStore& store,
                          const QuantOptions& options, const QuantizeTarget& target,
                          const CalibrationBatches& batches, std::int64_t batch);

}  // namespace bitloom::quant
