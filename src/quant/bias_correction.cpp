#include "bitloom/quant/bias_correction.h"

#include <cmath>
#include <map>

#include "bitloom/core/error.h"
#include "bitloom/core/log.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

// Means per channel of one tensor over batches, images and pixels.
class ChannelMeans {
 public:
  void see(ConstTensorView tensor) {
    const auto channels = static_cast<std::size_t>(tensor.shape().c());
    sums_.resize(channels, 0.0);
    const std::size_t pixels = tensor.span<float>().size() / channels;
    const float* values = tensor.data<float>();
    for (std::size_t pixel = 0; pixel < pixels; ++pixel, values += channels) {
      for (std::size_t c = 0; c < channels; ++c) sums_[c] += double{values[c]};
    }
    count_ += pixels;
  }
  std::vector<double> means(const std::string& place) const {
    if (count_ == 0) {
      throw ConfigError(ErrorText{"bias correction", "at least one full batch of images", "none",
                                  "raise quant.calibration_images or data.validation_images"});
    }
    std::vector<double> out;
    for (const double sum : sums_) {
      out.push_back(sum / static_cast<double>(count_));
      if (std::isfinite(out.back())) continue;
      throw NumericError(ErrorText{place, "finite values during bias correction", cat(sum),
                                   "check the checkpoint with `bitloom inspect`"});
    }
    return out;
  }

 private:
  std::vector<double> sums_;
  std::size_t count_ = 0;
};

std::map<std::string, ChannelMeans> float_means(const Graph& graph, ParameterStore& store,
                                                const CalibrationBatches& batches,
                                                std::int64_t batch) {
  layers::Network network(graph, layers::float_layers(), store,
                          {.batch = batch, .training = false});
  std::map<std::string, ChannelMeans> means;
  batches([&](ConstTensorView images) {
    network.forward(images, layers::Phase::kEvaluate,
                    [&](const std::string& node, ConstTensorView value) {
                      if (is_product(*graph.find(node))) means[node].see(value);
                    });
  });
  return means;
}

std::vector<double> quantized_means(const Graph& graph, const std::string& product,
                                    ParameterStore& store, const CalibrationBatches& batches,
                                    std::int64_t batch) {
  layers::Network network(up_to(graph, product), quantized_layers(), store,
                          {.batch = batch, .training = false});
  ChannelMeans means;
  batches([&](ConstTensorView images) {
    means.see(network.forward(images, layers::Phase::kEvaluate));
  });
  return means.means(product);
}

// The parameter by which a shift of the product's output is undone, and with which sign.
struct Remedy {
  std::string parameter;  // "": there is none
  double sign = 1.0;
};

Remedy remedy_for(const Graph& graph, const Node& product, const ParameterStore& store) {
  if (const Node* norm = batch_norm_behind(graph, product); norm != nullptr) {
    return {cat(norm->name, ".running_mean"), 1.0};
  }
  const std::string bias = cat(product.name, ".bias");
  return store.has(bias) ? Remedy{bias, -1.0} : Remedy{};
}

}  // namespace

std::vector<BiasCorrection> correct_biases(const Graph& graph, ParameterStore& store,
                                           ParameterStore& float_store,
                                           const CalibrationBatches& batches, std::int64_t batch) {
  const auto wanted = float_means(strip_fake_quant(graph), float_store, batches, batch);
  std::vector<BiasCorrection> done;
  for (const Node& node : graph.nodes()) {
    if (!is_product(node)) continue;
    BiasCorrection& correction = done.emplace_back(BiasCorrection{.layer = node.name});
    const Remedy remedy = remedy_for(graph, node, store);
    if (remedy.parameter.empty()) {
      correction.corrected = false;
      log_warning(cat(node.name, ": no bias and no batch norm; its shift is not corrected"));
      continue;
    }
    const std::vector<double> found = quantized_means(graph, node.name, store, batches, batch);
    const std::vector<double> expected = wanted.at(node.name).means(node.name);
    float* values = store.at(remedy.parameter).value.data<float>();
    const float* before = float_store.at(remedy.parameter).value.data<float>();
    for (std::size_t o = 0; o < found.size(); ++o) {
      double shift = found[o] - expected[o];
      // A bias is part of the output; a running mean is not, so what it took already counts.
      if (remedy.sign > 0.0) shift -= double{values[o]} - double{before[o]};
      values[o] = static_cast<float>(double{values[o]} + remedy.sign * shift);
      correction.mean_shift += std::abs(shift) / static_cast<double>(found.size());
    }
  }
  return done;
}

}  // namespace bitloom::quant
