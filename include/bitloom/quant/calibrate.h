// Scales from data: runs the float network on calibration images and sets every fake_quant scale.
// Comes from: quant/passes.h (a graph with fake_quant nodes). Goes to: train (QAT's first scales,
// PTQ).
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/observer.h"
#include "bitloom/quant/options.h"

namespace bitloom::quant {

/// Calls its argument once per batch, f32 [batch, C, H, W], each of `batch` images; the same
/// batches on every call.
using CalibrationBatches = std::function<void(const std::function<void(ConstTensorView)>&)>;

/// Which observers look at what.
struct CalibrationOptions {
  ObserverOptions activations;
  ObserverOptions weights;
};

/// What `[quant]` asks for: `observer` for activations, `weight_observer` for weights, which is
/// `observer` too where it is empty. @throws ConfigError for a word that is no observer of its
/// kind.
CalibrationOptions calibration_options(const QuantOptions& options);

/// One observer for each grid of activations, by the name of the tensor that the grid's owner
/// quantizes ("relu1"); grids of other widths than the graph's can be read from it too.
using ObservedTensors = std::map<std::string, ActivationObserver>;

/// Runs the float network behind `graph` (which has fake_quant nodes) over all batches.
/// @throws as calibrate().
ObservedTensors observe_activations(const layers::Graph& graph, layers::ParameterStore& store,
                                    const CalibrationBatches& batches, std::int64_t batch,
                                    const ObserverOptions& options);

/// Scales of a weight on a grid of `format`: one for each of its `rows` rows (1: for all of it). A
/// row whose own scale would be below 1/1000 of the largest takes that.
/// @throws NumericError with `name` if a value is not finite.
std::vector<float> weight_scales(const std::string& name, ConstTensorView weight, std::int64_t rows,
                                 const integer::AffineFormat& format,
                                 const ObserverOptions& options);

/// Sets "<node>.scale" (and ".range" of ema) of every fake_quant node from the float network's
/// tensors: activations over all batches, weights per channel. A channel whose own scale would be
/// below 1/1000 of the tensor's largest takes that: a dead channel needs no grid of its own, and a
/// learned scale must not start at its lower bound.
/// Returns the graph with zero_point set where a node says asymmetric=1.
/// @throws NumericError naming the node if a value is not finite or an activation has one value
/// only; ConfigError without batches, or if all of several images are the same.
layers::Graph calibrate(const layers::Graph& graph, layers::ParameterStore& store,
                        const CalibrationBatches& batches, std::int64_t batch,
                        const CalibrationOptions& options);

}  // namespace bitloom::quant
