// The moving average of a network's weights: often better on unseen images than the last ones.
// Comes from: layers/parameter.h. Goes to: step.h, checkpoint.h.
#pragma once

#include <map>
#include <string>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::train {

/// Averages by parameter name.
using Averages = std::map<std::string, Tensor>;

/// Copies of everything that is averaged: all trainable parameters and batch norm's running
/// statistics. (Statistics of the last weights would not fit averaged weights; PyTorch's
/// AveragedModel calls this use_buffers.) Ranges and counters of quantizers are not averaged: those
/// ranges are moving averages already.
Averages start_averages(const layers::ParameterStore& store);

/// average = average + (1 - decay) * (value - average), elementwise in f32.
/// Source: Polyak and Juditsky 1992 with an exponential window, as PyTorch's get_ema_multi_avg_fn.
/// Golden: tests/golden/optim.h5. @pre the averages are of this store.
void update_averages(const layers::ParameterStore& store, double decay, Averages& averages);

/// Puts the averages into the store. @throws FormatError naming `source` if one has no parameter of
/// its name and shape.
void put_averages(const Averages& averages, const std::string& source,
                  layers::ParameterStore& store);

}  // namespace bitloom::train
