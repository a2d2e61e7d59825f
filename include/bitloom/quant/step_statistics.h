// What each quantization step of a network does to the numbers that pass it: noise, clipping, and a
// histogram in units of its grid.
// Comes from: a graph with fake_quant nodes, run on images. Goes to: trainers, tools (the report).
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "bitloom/integer/affine.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/calibrate.h"

namespace bitloom::quant {

/// One fake_quant node, over all that passed it. With x its input and y its output, in reals:
///   sqnr_db         = 10 log10(sum x^2 / sum (y - x)^2)
///   outside_percent = share of x whose code lies more than half a step beyond [qmin, qmax]
///   histogram       = counts of x / scale in bins of equal width over [low, high]; the grid's
///                     levels are the integers from qmin - zero_point to qmax - zero_point (for one
///                     bit: -1 and +1). What lies outside counts in the end bins.
struct StepStatistics {
  static constexpr int kBins = 64;

  std::string node;       ///< "conv1.weight.q"
  std::string quantizer;  ///< "lsq"; that of the owner where a grid is shared
  bool is_weight = false;
  integer::AffineFormat format;
  double zero_point = 0.0;   ///< a learned one may lie between codes
  double least_scale = 0.0;  ///< of the channels
  double largest_scale = 0.0;
  /// NaN where x is not what is rounded (weights of dorefa, which tanh bends), +inf without noise.
  double sqnr_db = std::numeric_limits<double>::quiet_NaN();
  double outside_percent = std::numeric_limits<double>::quiet_NaN();  ///< also NaN for few levels
  double low = 0.0;
  double high = 0.0;
  std::vector<std::int64_t> counts;  ///< empty where sqnr_db is NaN
};

/// Runs `graph` as the classical simulation (reals on grids) over all batches, in evaluation. A
/// weight passes once. Nodes in order of the graph; none for a float graph, which is not run.
std::vector<StepStatistics> step_statistics(const layers::Graph& graph,
                                            layers::ParameterStore& store,
                                            const CalibrationBatches& batches, std::int64_t batch);

}  // namespace bitloom::quant
