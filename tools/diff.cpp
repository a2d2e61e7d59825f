#include "diff.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "bitloom/core/error.h"

namespace bitloom::tools {
namespace {

LayerDifference compare_layer(const LayerValues& a, const LayerValues& b, double tolerance) {
  if (a.values.elements() != b.values.elements() || a.values.shape().c() != b.values.shape().c()) {
    throw ShapeError({.place = "layer " + a.layer,
                      .expected = cat("one shape in both, ", to_string(a.values.shape())),
                      .found = to_string(b.values.shape()),
                      .remedy = "compare executions of one network"});
  }
  LayerDifference out{.layer = a.layer, .op = a.op, .elements = a.values.elements()};
  const float* x = a.values.data<float>();
  const float* y = b.values.data<float>();
  for (std::int64_t i = 0; i < out.elements; ++i) {
    out.largest_magnitude = std::max(out.largest_magnitude, std::abs(static_cast<double>(x[i])));
  }
  const double bound = tolerance * out.largest_magnitude;
  const std::int64_t channels = a.values.shape().c();
  double power = 0.0;
  double noise = 0.0;
  for (std::int64_t i = 0; i < out.elements; ++i) {
    const auto left = static_cast<double>(x[i]);
    const auto right = static_cast<double>(y[i]);
    const double difference = std::abs(left - right);
    power += left * left;
    noise += difference * difference;
    if (!(difference <= bound)) {  // a NaN differs
      ++out.differing;
      const std::int64_t channel = i % channels;
      if (out.first_channel < 0 || channel < out.first_channel) out.first_channel = channel;
    }
    if (out.worst_channel >= 0 ? !(difference <= out.largest) : difference != 0.0) {
      out.largest = difference;
      out.worst_channel = i % channels;
      out.worst_a = left;
      out.worst_b = right;
    }
  }
  const double step = std::max(a.step, b.step);
  out.largest_steps = step > 0.0 ? out.largest / step : std::numeric_limits<double>::quiet_NaN();
  out.sqnr_db =
      noise == 0.0 ? std::numeric_limits<double>::infinity() : 10.0 * std::log10(power / noise);
  return out;
}

}  // namespace

std::vector<LayerDifference> compare_executions(const Execution& a, const Execution& b,
                                                double tolerance) {
  std::vector<LayerDifference> out;
  for (const LayerValues& layer : a.layers) {
    const auto twin = std::find_if(b.layers.begin(), b.layers.end(), [&](const LayerValues& other) {
      return other.layer == layer.layer;
    });
    if (twin != b.layers.end()) out.push_back(compare_layer(layer, *twin, tolerance));
  }
  if (out.empty()) {
    throw ConfigError({.place = "bitloom diff",
                       .expected = "layers of one name in both executions",
                       .found = cat("none in ", a.label, " and ", b.label),
                       .remedy = "compare executions of one network"});
  }
  return out;
}

std::int64_t first_divergence(const std::vector<LayerDifference>& layers) {
  const auto first = std::find_if(layers.begin(), layers.end(),
                                  [](const LayerDifference& layer) { return layer.differing > 0; });
  return first == layers.end() ? -1 : first - layers.begin();
}

}  // namespace bitloom::tools
