// A float network to a quantized one: the passes and post-training steps that [quant] asks for, in
// their one order.
// Comes from: a trained float network. Goes to: train (QAT's start), deploy (PTQ).
#pragma once

#include <cstdint>

#include "bitloom/integer/profile.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/options.h"

namespace bitloom::quant {

/// What the grids are chosen for.
struct QuantizeTarget {
  const integer::DeviceProfile& profile;
  bool input_is_signed = true;
};

/// Runs on a float graph and its parameters, which become the quantized network's:
///   1. fold_batch_norm()   with options.fold_batch_norm
///   2. equalize()          with options.equalize; a function of the float network alone
///   3. insert_fake_quant()
///   4. calibrate()
///   5. adaround()          with options.adaround; grids stay as calibrated
///   6. correct_biases()    with options.bias_correction; sees the weights as rounded
/// What the optional steps did goes to the log. Errors are those of the steps.
layers::Graph quantize_network(const layers::Graph& graph, layers::ParameterStore& store,
                               const QuantOptions& options, const QuantizeTarget& target,
                               const CalibrationBatches& batches, std::int64_t batch);

}  // namespace bitloom::quant
