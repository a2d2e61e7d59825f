#include "noise_taps.h"

#include <algorithm>
#include <cstring>
#include <memory>

#include "bitloom/kernels/fake_quant.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

constexpr int kWidestModel = 8;

// Stands in a fake_quant node's place: real, on a grid of any width, or measuring.
class TapLayer final : public layers::Layer {
 public:
  TapLayer(const layers::LayerContext& context, Tap& tap) : tap_(tap) {
    edge_.shape = context.inputs[0].shape;
    cols_ = edge_.shape.elements() / tap.rows;
  }
  const layers::Edge& output() const override { return edge_; }
  void forward(const layers::ForwardCall& call) override;
  void backward(const layers::BackwardCall& /*call*/) override {}

 private:
  void quantize(const float* x, int bits, float* y) {
    const TapGrid& grid = tap_.grid(bits);
    kernels::fake_quantize(x,
                           {.rows = tap_.rows,
                            .cols = cols_,
                            .scale = grid.scales.data(),
                            .scale_per_row = tap_.rows > 1,
                            .format = grid.format},
                           y);
  }

  Tap& tap_;
  layers::Edge edge_;
  std::int64_t cols_ = 0;
};

void TapLayer::forward(const layers::ForwardCall& call) {
  const ConstTensorView x = call.inputs[0];
  float* y = call.output.data<float>();
  const auto written = call.output.span<float>();
  if (*tap_.mode == TapMode::kMeasure) {
    tap_.step->signal += mean_square(x.span<float>());
    for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) {
      quantize(x.data<float>(), bits, y);
      tap_.step->noise.at(bits) += mean_square_difference(written, x.span<float>());
    }
  }
  if (*tap_.mode == TapMode::kCompare && tap_.bits > 0) {
    quantize(x.data<float>(), tap_.bits, y);
  } else {
    std::memcpy(y, x.raw(), x.bytes());
  }
  if (*tap_.mode == TapMode::kRecord) {
    if (tap_.recorded.empty()) tap_.recorded = Tensor(DType::kF32, x.shape());
    std::memcpy(tap_.recorded.raw(), x.raw(), x.bytes());
  } else if (*tap_.mode == TapMode::kCompare) {
    tap_.difference = mean_square_difference(written, tap_.recorded.span<float>());
  }
}

// The format of 8 bits with more of them.
integer::AffineFormat widened(integer::AffineFormat format, int bits) {
  const std::int32_t half = 1 << (bits - 1);
  if (format.is_signed) {
    const bool symmetric = format.range.qmin == -format.range.qmax;
    format.range = {symmetric ? 1 - half : -half, half - 1};
  } else {
    format.range = {0, 2 * half - 1};
    format.zero_point *= 1 << (bits - kWidestModel);
  }
  format.bits = bits;
  return format;
}

QuantOptions at_width(QuantOptions options, int bits) {
  if (options.method == "float" || options.method == "qat") options.method = "ptq-static";
  options.weight_bits = bits;
  if (options.activation_bits != 32) options.activation_bits = bits;  // 32: they stay real
  options.first_last_bits = 0;
  options.layer_bits.clear();
  options.shift_batch_norm = false;  // of training
  return options;
}

// The step whose codes a value is: pools, flatten and concat pass them on.
std::string step_behind(const Graph& graph, const std::string& name) {
  const Node* node = graph.find(name);
  while (!is_fake_quant(*node) && keeps_grid(*node)) node = graph.find(node->inputs[0]);
  return is_fake_quant(*node) ? node->name : "";
}

}  // namespace

double mean_square(std::span<const float> values) {
  double sum = 0.0;
  for (const float value : values) sum += double{value} * double{value};
  return sum / static_cast<double>(values.size());
}

double mean_square_difference(std::span<const float> a, std::span<const float> b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double difference = double{a[i]} - double{b[i]};
    sum += difference * difference;
  }
  return sum / static_cast<double>(a.size());
}

NoiseTaps::NoiseTaps(const Graph& float_graph, ParameterStore& store, const QuantOptions& options,
                     const QuantizeTarget& target, const CalibrationBatches& batches,
                     std::int64_t batch, std::vector<QuantizationStep>& steps) {
  std::vector<Graph> graphs;
  for (int bits = kNarrowestBits; bits <= kWidestModel; ++bits) {
    graphs.push_back(insert_fake_quant(float_graph, at_width(options, bits), target.profile,
                                       target.input_is_signed));
  }
  graph_ = graphs.back();
  const auto owners = node_owners(graph_);
  for (const Node& node : graph_.nodes()) {
    if (!is_fake_quant(node)) continue;
    const NodeOwner& owner = owners.at(node.name);
    index_[node.name] = steps.size();
    steps.push_back({.node = node.name, .layer = owner.layer, .is_weight = owner.is_weight});
  }
  const CalibrationOptions calibration = calibration_options(options);
  // Declares the parameters that grids of weights are read from.
  const layers::Network declared(strip_fake_quant(graph_), layers::float_layers(), store,
                                 {.batch = batch, .training = false});
  const ObservedTensors observed =
      observe_activations(graph_, store, batches, batch, calibration.activations);
  taps_.resize(steps.size());
  for (std::size_t i = 0; i < steps.size(); ++i) {
    taps_[i].mode = &mode_;
    taps_[i].step = &steps[i];
  }
  choose_grids(graphs, store, observed, calibration);

  layers::LayerRegistry registry = quantized_layers();
  registry["fake_quant"].make = [this](const layers::LayerContext& context) {
    return std::make_unique<TapLayer>(context, taps_[index_.at(context.node.name)]);
  };
  network_.emplace(graph_, registry, store,
                   layers::NetworkOptions{.batch = batch, .training = false});
  for (std::size_t i = 0; i < steps.size(); ++i) {
    const Shape& shape = network_->edge(steps[i].node).shape;
    steps[i].elements = shape.elements() / (steps[i].is_weight ? 1 : batch);
    if (!steps[i].is_weight) continue;
    const Shape& out = network_->edge(steps[i].layer).shape;
    steps[i].macs = steps[i].elements * (out.elements() / (batch * shape[0]));
    steps[i].source = step_behind(graph_, graph_.find(steps[i].layer)->inputs[0]);
  }
}

void NoiseTaps::choose_grids(const std::vector<Graph>& graphs, ParameterStore& store,
                             const ObservedTensors& observed, const CalibrationOptions& options) {
  for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) {
    const Graph& graph =
        graphs[static_cast<std::size_t>(std::min(bits, kWidestModel) - kNarrowestBits)];
    for (const auto& [name, index] : index_) {
      const Node& node = *graph.find(name);
      // A shared grid is that of its owner.
      const Node& owner = node.has("share") ? *graph.find(node.word("share", "")) : node;
      Tap& tap = taps_[index];
      TapGrid& grid = tap.grid(bits);
      grid.format = format_of(owner);
      if (bits > kWidestModel) grid.format = widened(grid.format, bits);
      if (quantizes_weight(owner)) {
        const Tensor& weight = store.at(owner.inputs[0]).value;
        tap.rows = owner.has("axis") ? weight.shape()[0] : 1;
        grid.scales =
            weight_scales(owner.inputs[0], weight, tap.rows, grid.format, options.weights);
      } else {
        const AsymmetricGrid chosen =
            observed.at(owner.inputs[0]).grid(grid.format, owner.integer("asymmetric", 0) != 0);
        grid.format.zero_point = chosen.zero_point;
        grid.scales = {chosen.scale};
      }
    }
  }
}

}  // namespace bitloom::quant
