// AdaRound: learns for each weight of a network whether it rounds up or down.
// Comes from: quant/calibrate.h. Goes to: quant/bias_correction.h, the checkpoint.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/rounding.h"

namespace bitloom::quant {

/// What was learned for one product.
struct LearnedRounding {
  std::string layer;
  double nearest_loss = 0.0;  ///< reconstruction loss of ordinary rounding, over the images kept
  double learned_loss = 0.0;
  std::int64_t moved = 0;  ///< weights that do not round to nearest
  bool kept = true;        ///< false: not better than nearest, which stays
};

/// Learns the rounding of every quantized weight of a calibrated graph, product by product in
/// order. Inputs come from the quantized network with all earlier products rounded, targets from
/// the float network. A step takes `options.batch` images drawn with replacement by the store's
/// seed (all of them in order, where there are no more); as many images are kept for a layer as fit
/// data_bytes, at least one calibration batch.
/// Lambda is options.regularizer or, where outputs are large, 10 * nearest_loss / weights, without
/// which h would not become binary there.
/// The weight's value becomes scale * code, so ordinary rounding gives the learned code from then
/// on: nothing behind this step knows of it.
///
/// `graph` and `store` are the fake-quantized network; `float_store` has the float network's
/// values.
/// @throws ConfigError without batches, or naming a weight whose quantizer does not keep the scale
/// (anything but static and lsq).
std::vector<LearnedRounding> adaround(const layers::Graph& graph, layers::ParameterStore& store,
                                      layers::ParameterStore& float_store,
                                      const CalibrationBatches& batches, std::int64_t batch,
                                      const AdaRoundOptions& options);

}  // namespace bitloom::quant
