// The switches of a NoiseProbe: a layer in the place of every fake_quant node that leaves its
// tensor real, puts it on a grid of any width, or measures what that would cost. Comes from:
// quant/passes.h, quant/calibrate.h. Goes to: sqnr.cpp.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "bitloom/layers/network.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

/// Mean of the square, and of the square of the difference, summed in double.
double mean_square(std::span<const float> values);
double mean_square_difference(std::span<const float> a, std::span<const float> b);

/// A grid of one width.
struct TapGrid {
  integer::AffineFormat format;
  std::vector<float> scales;  // [1], or one for each row
};

/// What all taps of a network do in a pass: nothing; add to their step's powers; keep their tensor;
/// compare with what was kept.
enum class TapMode : std::uint8_t { kOff, kMeasure, kRecord, kCompare };

/// What the layer of a step shares with the probe.
struct Tap {
  const TapMode* mode = nullptr;
  QuantizationStep* step = nullptr;  // sums of powers while measuring
  std::array<TapGrid, kWidestBits - kNarrowestBits + 1> grids;
  std::int64_t rows = 1;
  int bits = 0;
  Tensor recorded;          // the float tensor of this batch
  double difference = 0.0;  // sum over elements of (now - recorded)^2 / elements of the batch

  TapGrid& grid(int width) { return grids.at(static_cast<std::size_t>(width - kNarrowestBits)); }
};

/// A network with a tap in every place where insert_fake_quant() would quantize.
class NoiseTaps {
 public:
  NoiseTaps(const layers::Graph& float_graph, layers::ParameterStore& store,
            const QuantOptions& options, const QuantizeTarget& target,
            const CalibrationBatches& batches, std::int64_t batch,
            std::vector<QuantizationStep>& steps);

  ConstTensorView run(ConstTensorView images, TapMode mode) {
    mode_ = mode;
    return network_->forward(images, layers::Phase::kEvaluate);
  }
  Tap& at(std::size_t step) { return taps_[step]; }
  const layers::Graph& graph() const { return graph_; }

 private:
  void choose_grids(const std::vector<layers::Graph>& graphs, layers::ParameterStore& store,
                    const ObservedTensors& observed, const CalibrationOptions& options);

  layers::Graph graph_;  // at 8 bits; the taps know all widths
  TapMode mode_ = TapMode::kOff;
  std::vector<Tap> taps_;
  std::map<std::string, std::size_t> index_;  // fake_quant node > its tap
  std::optional<layers::Network> network_;
};

}  // namespace bitloom::quant
