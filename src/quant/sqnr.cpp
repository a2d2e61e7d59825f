#include "bitloom/quant/sqnr.h"

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "bitloom/core/error.h"
#include "noise_taps.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

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

double to_db(double signal, double noise) {
  if (noise <= 0.0) return std::numeric_limits<double>::infinity();
  return 10.0 * std::log10(signal / noise);
}

double QuantizationStep::sqnr_db(int bits) const { return to_db(signal, noise.at(bits)); }

NoiseProbe::NoiseProbe(const Graph& float_graph, ParameterStore& store, const QuantOptions& options,
                       const QuantizeTarget& target, const CalibrationBatches& batches,
                       std::int64_t batch)
    : batches_(batches),
      taps_(std::make_unique<NoiseTaps>(float_graph, store, options, target, batches, batch,
                                        steps_)) {
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

}  // namespace bitloom::quant
