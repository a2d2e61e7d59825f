#include "bitloom/quant/sqnr.h"

#include <algorithm>
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

// Logs of the softmax of one image's logits.
void log_softmax(std::span<const float> logits, std::vector<double>& out) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0.0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  const double shift = largest + std::log(sum);
  out.clear();
  for (const float logit : logits) out.push_back(logit - shift);
}

// Noise::divergence of one batch with `classes` logits an image.
double mean_divergence(std::span<const float> real, std::span<const float> noisy,
                       std::size_t classes) {
  std::vector<double> p;
  std::vector<double> q;
  double sum = 0.0;
  for (std::size_t begin = 0; begin < real.size(); begin += classes) {
    log_softmax(real.subspan(begin, classes), p);
    log_softmax(noisy.subspan(begin, classes), q);
    for (std::size_t i = 0; i < classes; ++i) sum += std::exp(p[i]) * (p[i] - q[i]);
  }
  return sum * static_cast<double>(classes) / static_cast<double>(real.size());
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

std::vector<Noise> NoiseProbe::measure(std::span<const StepBits> assignments, double* of_sum) {
  std::vector<Noise> noises(assignments.size(),
                            Noise{.at_step = std::vector<double>(steps_.size(), 0.0)});
  double count = 0.0;
  std::vector<float> real;
  std::vector<double> together;
  double power_together = 0.0;
  batches_([&](ConstTensorView images) {
    const ConstTensorView output = taps_->run(images, TapMode::kRecord);
    const auto classes = static_cast<std::size_t>(output.shape().elements() / output.shape().n());
    const auto logits = output.span<float>();
    real.assign(logits.begin(), logits.end());
    together.assign(real.size(), 0.0);
    for (std::size_t a = 0; a < assignments.size(); ++a) {
      for (std::size_t i = 0; i < steps_.size(); ++i) taps_->at(i).bits = assignments[a][i];
      const auto noisy = taps_->run(images, TapMode::kCompare).span<float>();
      noises[a].output += mean_square_difference(noisy, real);
      noises[a].divergence += mean_divergence(real, noisy, classes);
      for (std::size_t i = 0; i < real.size(); ++i) {
        together[i] += static_cast<double>(noisy[i]) - static_cast<double>(real[i]);
      }
      for (std::size_t i = 0; i < steps_.size(); ++i) {
        noises[a].at_step[i] += taps_->at(i).difference;
      }
    }
    for (const double noise : together) {
      power_together += noise * noise / static_cast<double>(together.size());
    }
    count += 1.0;
  });
  if (of_sum != nullptr) *of_sum = power_together / count;
  for (Noise& noise : noises) {
    noise.output /= count;
    noise.divergence /= count;
    for (double& power : noise.at_step) power /= count;
  }
  return noises;
}

}  // namespace bitloom::quant
