#include "bitloom/quant/sqnr.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <optional>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/network.h"
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

struct Grid {
  integer::AffineFormat format;
  std::vector<float> scales;  // [1], or one for each row
};

enum class TapMode : std::uint8_t { kOff, kMeasure, kRecord, kCompare };

// What the layer of a step shares with the probe.
struct Tap {
  const TapMode* mode = nullptr;
  QuantizationStep* step = nullptr;  // sums of powers while measuring
  std::array<Grid, kWidestBits - kNarrowestBits + 1> grids;
  std::int64_t rows = 1;
  int bits = 0;
  Tensor recorded;          // the float tensor of this batch
  double difference = 0.0;  // sum over elements of (now - recorded)^2 / elements of the batch

  Grid& grid(int width) { return grids.at(static_cast<std::size_t>(width - kNarrowestBits)); }
};

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
    const Grid& grid = tap_.grid(bits);
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

// For every step the steps by which it is reached.
std::vector<std::vector<std::size_t>> sources_of_steps(const Graph& graph,
                                                       const std::vector<QuantizationStep>& steps) {
  std::map<std::string, std::size_t> index;
  for (std::size_t i = 0; i < steps.size(); ++i) index[steps[i].node] = i;
  std::map<std::string, std::set<std::size_t>> reached;
  std::vector<std::vector<std::size_t>> sources(steps.size());
  for (const Node& node : graph.nodes()) {
    std::set<std::size_t>& own = reached[node.name];
    for (const std::string& input : node.inputs) own.merge(std::set(reached.at(input)));
    const auto step = index.find(node.name);
    if (step == index.end()) continue;
    own.insert(step->second);
    sources[step->second].assign(own.begin(), own.end());
  }
  return sources;
}

}  // namespace

class NoiseProbe::Taps {
 public:
  Taps(const Graph& float_graph, ParameterStore& store, const QuantOptions& options,
       const QuantizeTarget& target, const CalibrationBatches& batches, std::int64_t batch,
       std::vector<QuantizationStep>& steps);

  ConstTensorView run(ConstTensorView images, TapMode mode) {
    mode_ = mode;
    return network_->forward(images, layers::Phase::kEvaluate);
  }
  Tap& at(std::size_t step) { return taps_[step]; }
  const Graph& graph() const { return graph_; }

 private:
  void choose_grids(const std::vector<Graph>& graphs, ParameterStore& store,
                    const ObservedTensors& observed, const CalibrationOptions& options);

  Graph graph_;  // at 8 bits; the taps know all widths
  TapMode mode_ = TapMode::kOff;
  std::vector<Tap> taps_;
  std::map<std::string, std::size_t> index_;  // fake_quant node > its tap
  std::optional<layers::Network> network_;
};

NoiseProbe::Taps::Taps(const Graph& float_graph, ParameterStore& store, const QuantOptions& options,
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

void NoiseProbe::Taps::choose_grids(const std::vector<Graph>& graphs, ParameterStore& store,
                                    const ObservedTensors& observed,
                                    const CalibrationOptions& options) {
  for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) {
    const Graph& graph =
        graphs[static_cast<std::size_t>(std::min(bits, kWidestModel) - kNarrowestBits)];
    for (const auto& [name, index] : index_) {
      const Node& node = *graph.find(name);
      // A shared grid is that of its owner.
      const Node& owner = node.has("share") ? *graph.find(node.word("share", "")) : node;
      Tap& tap = taps_[index];
      Grid& grid = tap.grid(bits);
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

double to_db(double signal, double noise) {
  if (noise <= 0.0) return std::numeric_limits<double>::infinity();
  return 10.0 * std::log10(signal / noise);
}

double QuantizationStep::sqnr_db(int bits) const { return to_db(signal, noise.at(bits)); }

NoiseProbe::NoiseProbe(const Graph& float_graph, ParameterStore& store, const QuantOptions& options,
                       const QuantizeTarget& target, const CalibrationBatches& batches,
                       std::int64_t batch)
    : batches_(batches),
      taps_(std::make_unique<Taps>(float_graph, store, options, target, batches, batch, steps_)) {
  sources_ = sources_of_steps(taps_->graph(), steps_);
  measure_steps();
}

NoiseProbe::~NoiseProbe() = default;

void NoiseProbe::measure_steps() {
  double count = 0.0;
  batches_([&](ConstTensorView images) {
    output_signal_ += mean_square(taps_->run(images, TapMode::kMeasure).span<float>());
    count += 1.0;
  });
  if (count == 0.0) {
    throw ConfigError(ErrorText{"sqnr", "at least one full batch of images", "none",
                                "raise quant.calibration_images or data.validation_images"});
  }
  output_signal_ /= count;
  for (QuantizationStep& step : steps_) {
    step.signal /= count;
    for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) step.noise.at(bits) /= count;
    if (step.signal > 0.0 && std::isfinite(step.signal)) continue;
    throw NumericError(ErrorText{step.node, "finite values that are not all 0",
                                 cat("a mean square of ", step.signal),
                                 "look at the checkpoint with `bitloom inspect`"});
  }
}

std::vector<Noise> NoiseProbe::measure(std::span<const StepBits> assignments) {
  std::vector<Noise> noises(assignments.size(),
                            Noise{std::vector<double>(steps_.size(), 0.0), 0.0});
  double count = 0.0;
  std::vector<float> real;
  batches_([&](ConstTensorView images) {
    const auto logits = taps_->run(images, TapMode::kRecord).span<float>();
    real.assign(logits.begin(), logits.end());
    for (std::size_t a = 0; a < assignments.size(); ++a) {
      for (std::size_t i = 0; i < steps_.size(); ++i) taps_->at(i).bits = assignments[a][i];
      const auto noisy = taps_->run(images, TapMode::kCompare).span<float>();
      noises[a].output += mean_square_difference(noisy, real);
      for (std::size_t i = 0; i < steps_.size(); ++i) {
        noises[a].at_step[i] += taps_->at(i).difference;
      }
    }
    count += 1.0;
  });
  for (Noise& noise : noises) {
    noise.output /= count;
    for (double& power : noise.at_step) power /= count;
  }
  return noises;
}

NoiseGains measure_gains(NoiseProbe& probe, int bits) {
  const std::size_t count = probe.steps().size();
  std::vector<StepBits> alone(count, probe.all_at(0));
  for (std::size_t i = 0; i < count; ++i) alone[i][i] = bits;
  const std::vector<Noise> noises = probe.measure(alone);
  NoiseGains gains;
  for (std::size_t i = 0; i < count; ++i) {
    const double own = probe.steps()[i].noise.at(bits);
    const auto gain = [own](double power) { return own > 0.0 ? power / own : 0.0; };
    gains.to_output.push_back(gain(noises[i].output));
    std::vector<double>& inner = gains.to_step.emplace_back();
    for (const double power : noises[i].at_step) inner.push_back(gain(power));
  }
  return gains;
}

namespace {

double inverse_sqnr(const QuantizationStep& step, int bits) {
  return bits == 0 ? 0.0 : step.noise.at(bits) / step.signal;
}

double noise_of(const QuantizationStep& step, int bits) {
  return bits == 0 ? 0.0 : step.noise.at(bits);
}

}  // namespace

double predict_plain_db(const NoiseProbe& probe, const StepBits& bits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) sum += inverse_sqnr(probe.steps()[i], bits[i]);
  return to_db(1.0, sum);
}

double predict_plain_db(const NoiseProbe& probe, const StepBits& bits, std::size_t at) {
  double sum = 0.0;
  for (const std::size_t i : probe.sources(at)) sum += inverse_sqnr(probe.steps()[i], bits[i]);
  return to_db(1.0, sum);
}

double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits) {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    sum += gains.to_output[i] * noise_of(probe.steps()[i], bits[i]);
  }
  return to_db(probe.output_signal(), sum);
}

double predict_refined_db(const NoiseProbe& probe, const NoiseGains& gains, const StepBits& bits,
                          std::size_t at) {
  double sum = 0.0;
  for (const std::size_t i : probe.sources(at)) {
    sum += gains.to_step[i][at] * noise_of(probe.steps()[i], bits[i]);
  }
  return to_db(probe.steps()[at].signal, sum);
}

}  // namespace bitloom::quant
