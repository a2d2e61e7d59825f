// Empirical bias correction: the mean that quantization shifts is given back.
// Comes from: quant/calibrate.h (and adaround.h). Goes to: the checkpoint.
#pragma once

#include <string>
#include <vector>

#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"

namespace bitloom::quant {

/// What was done to one product.
struct BiasCorrection {
  std::string layer;
  double mean_shift = 0.0;  ///< mean over channels of |shift|, unit of the layer's output
  bool corrected = true;    ///< false: neither batch norm nor bias stands behind the product
};

/// Corrects every conv2d and linear of a calibrated graph, in order, each with all before it
/// corrected:
///   shift[o] = mean of the quantized network's output channel o - mean of the float network's,
/// over all calibration images and pixels. Behind the product stands a batch norm, then
/// running_mean[o] += shift[o] (a bias before it would do the same); else bias[o] -= shift[o].
/// A product with neither keeps its shift, and a warning names it.
///
/// `graph` and `store` are the fake-quantized network; `float_store` has the float network's values
/// (they differ where AdaRound changed weights).
/// Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
/// arXiv:1906.04721, section 4.2 and appendix D (the empirical form).
/// Golden: tests/golden/ptq.h5, made by tools/golden/ptq.py.
/// @throws ConfigError without batches; NumericError naming the layer if a mean is not finite.
std::vector<BiasCorrection> correct_biases(const layers::Graph& graph,
                                           layers::ParameterStore& store,
                                           layers::ParameterStore& float_store,
                                           const CalibrationBatches& batches, std::int64_t batch);

}  // namespace bitloom::quant
