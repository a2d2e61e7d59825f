#include "bitloom/quant/calibrate.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

constexpr float kSmallestChannelRatio = 1e-3F;

bool is_weight(const Graph& graph, const Node& node) {
  return graph.find(node.inputs[0])->op == "parameter";
}

void require_finite(const std::string& name, kernels::MinMax range) {
  if (!std::isfinite(range.min) || !std::isfinite(range.max)) {
    throw NumericError(ErrorText{name, "finite values during calibration",
                                 cat("[", range.min, ", ", range.max, "]"),
                                 "check the checkpoint with `bitloom inspect`"});
  }
}

void require_spread(const std::string& name, kernels::MinMax range) {
  if (range.min != range.max) return;
  throw NumericError(ErrorText{name, "values that differ during calibration",
                               cat("the constant ", range.min),
                               "calibrate a trained network with images of its own data"});
}

// Tells a folder of copies of one image from data.
class ImageVariety {
 public:
  void see(ConstTensorView images) {
    const std::int64_t count = images.shape().n();
    const auto size = static_cast<std::size_t>(images.elements() / count);
    for (std::int64_t i = 0; i < count && !varies_; ++i) {
      const auto image = images.span<float>().subspan(static_cast<std::size_t>(i) * size, size);
      if (seen_++ == 0) first_.assign(image.begin(), image.end());
      varies_ = !std::equal(image.begin(), image.end(), first_.begin());
    }
  }
  void require() const {
    if (varies_ || seen_ < 2) return;
    throw ConfigError(ErrorText{"calibration", "images that differ",
                                cat(seen_, " copies of one image"),
                                "set data.path or quant.calibration_images to real images"});
  }

 private:
  std::vector<float> first_;
  std::int64_t seen_ = 0;
  bool varies_ = false;
};

// Grids of one and two bits need no calibration: their quantizers start from the weights.
bool has_levels(const Node& node) { return format_of(node).grid != integer::Grid::kAffine; }

// Owners of grids by the tensors that they must hold: what the owner quantizes, and what the nodes
// quantize that are joined to it (quant/passes.h). An owner goes by the tensor that it quantizes.
std::multimap<std::string, std::string> owners_of_tensors(const Graph& graph) {
  std::multimap<std::string, std::string> owners;
  for (const Node& node : graph.nodes()) {
    if (!is_fake_quant(node) || is_weight(graph, node) || has_levels(node)) continue;
    if (!node.has("share")) {
      owners.emplace(node.inputs[0], node.inputs[0]);
    } else if (node.integer("joined", 0) != 0) {
      owners.emplace(node.inputs[0], graph.find(node.word("share", ""))->inputs[0]);
    }
  }
  return owners;
}

// Shows values to observers as the network makes them: none is kept for that.
class Watcher {
 public:
  Watcher(const Graph& graph, ObservedTensors& observed)
      : owners_(owners_of_tensors(graph)), observed_(observed) {}

  const std::multimap<std::string, std::string>& owners() const { return owners_; }

  // One range a batch and observer, over all tensors that its grid holds.
  void see_ranges(layers::Network& network, ConstTensorView images) {
    std::map<std::string, kernels::MinMax> ranges;
    run(network, images,
        [&ranges](const std::string& tensor, const std::string& owner, ConstTensorView value) {
          const kernels::MinMax range = kernels::min_max(value.data<float>(), value.elements());
          require_finite(tensor, range);
          kernels::MinMax& joint = ranges.try_emplace(owner, range).first->second;
          joint = {std::min(joint.min, range.min), std::max(joint.max, range.max)};
        });
    for (const auto& [owner, range] : ranges) observed_.at(owner).see_range(range);
  }
  void see_values(layers::Network& network, ConstTensorView images) {
    run(network, images,
        [this](const std::string& /*tensor*/, const std::string& owner, ConstTensorView value) {
          observed_.at(owner).see_values(value.span<float>());
        });
  }

 private:
  template <typename See>
  void run(layers::Network& network, ConstTensorView images, const See& see) const {
    network.forward(images, layers::Phase::kEvaluate,
                    [&](const std::string& tensor, ConstTensorView value) {
                      const auto [first, last] = owners_.equal_range(tensor);
                      for (auto at = first; at != last; ++at) see(tensor, at->second, value);
                    });
  }

  std::multimap<std::string, std::string> owners_;
  ObservedTensors& observed_;
};

}  // namespace

CalibrationOptions calibration_options(const QuantOptions& options) {
  CalibrationOptions out;
  out.activations = {.kind = observer_from_word(options.observer),
                     .percentile = options.percentile,
                     .decay = options.observer_decay,
                     .power_of_two = options.power_of_two};
  out.weights = out.activations;
  if (!options.weight_observer.empty()) {
    out.weights.kind = observer_from_word(options.weight_observer);
    if (out.weights.kind == ObserverKind::kEma || out.weights.kind == ObserverKind::kKl) {
      throw ConfigError(ErrorText{"quant.weight_observer", "minmax, percentile or mse",
                                  options.weight_observer, "ema and kl are for activations"});
    }
  }
  return out;
}

std::vector<float> weight_scales(const std::string& name, ConstTensorView weight, std::int64_t rows,
                                 const integer::AffineFormat& format,
                                 const ObserverOptions& options) {
  require_finite(name, kernels::min_max(weight.data<float>(), weight.elements()));
  const std::int64_t cols = weight.elements() / rows;
  std::vector<float> scales(static_cast<std::size_t>(rows));
  float* scale = scales.data();
  parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      scale[row] = weight_scale(weight.span<float>().subspan(static_cast<std::size_t>(row * cols),
                                                             static_cast<std::size_t>(cols)),
                                format, options);
    }
  });
  // A zero row has scale 1 by definition; it must not raise the others.
  float largest = 0.0F;
  for (std::int64_t row = 0; row < rows; ++row) {
    const kernels::MinMax range = kernels::min_max(weight.data<float>() + row * cols, cols);
    if (range.min != 0.0F || range.max != 0.0F) {
      largest = std::max(largest, scale[row]);
    } else {
      scale[row] = 0.0F;
    }
  }
  if (largest == 0.0F) largest = 1.0F;
  for (std::int64_t row = 0; row < rows; ++row) {
    const float least = largest * kSmallestChannelRatio;
    scale[row] = std::max(scale[row], options.power_of_two ? power_of_two_scale(least) : least);
  }
  return scales;
}

ObservedTensors observe_activations(const Graph& graph, ParameterStore& store,
                                    const CalibrationBatches& batches, std::int64_t batch,
                                    const ObserverOptions& options) {
  layers::Network network(strip_fake_quant(graph), layers::float_layers(), store,
                          {.batch = batch, .training = false});
  ObservedTensors observed;
  Watcher watcher(graph, observed);
  for (const auto& [tensor, owner] : watcher.owners()) {
    ObserverOptions chosen = options;
    // Entropy clips at a spike, and images have one: on Fashion-MNIST's black background it cut off
    // every pixel brighter than that is dark, and four points of accuracy.
    const bool pixels = graph.find(owner)->op == "input";
    if (pixels && chosen.kind == ObserverKind::kKl) chosen.kind = ObserverKind::kMse;
    observed.try_emplace(owner, chosen);
  }

  ImageVariety variety;
  bool any = observed.empty();  // weights alone need no images
  const auto watch = [&](ConstTensorView images) {
    any = true;
    variety.see(images);
    watcher.see_ranges(network, images);
  };
  if (!observed.empty()) batches(watch);
  if (!any) {
    throw ConfigError(ErrorText{"calibration", "at least one full batch of images", "none",
                                "raise quant.calibration_images or data.validation_images"});
  }
  variety.require();
  for (const auto& [name, observer] : observed) require_spread(name, observer.range());
  if (!observed.empty() && observed.begin()->second.needs_values()) {
    batches([&](ConstTensorView images) { watcher.see_values(network, images); });
  }
  return observed;
}

Graph calibrate(const Graph& graph, ParameterStore& store, const CalibrationBatches& batches,
                std::int64_t batch, const CalibrationOptions& options) {
  // Declares every parameter, scales included, before they are set.
  const layers::Network declared(graph, quantized_layers(), store,
                                 {.batch = batch, .training = false});
  const ObservedTensors observed =
      observe_activations(graph, store, batches, batch, options.activations);
  Graph out;
  for (const Node& original : graph.nodes()) {
    Node node = original;
    if (is_fake_quant(node) && has_levels(node)) {
      // start_quantizers() sets what there is to set.
    } else if (is_fake_quant(node) && !node.has("share")) {
      if (is_weight(graph, node)) {
        const Tensor& weight = store.at(node.inputs[0]).value;
        const std::vector<float> scales =
            weight_scales(node.inputs[0], weight, node.has("axis") ? weight.shape()[0] : 1,
                          format_of(node), options.weights);
        std::copy(scales.begin(), scales.end(), store.at(scale_name(node)).value.data<float>());
      } else {
        const ActivationObserver& observer = observed.at(node.inputs[0]);
        const bool asymmetric = node.integer("asymmetric", 0) != 0;
        const AsymmetricGrid grid = observer.grid(format_of(node), asymmetric);
        if (asymmetric) node.set("zero_point", cat(grid.zero_point));
        store.at(scale_name(node)).value.data<float>()[0] = grid.scale;
        if (const std::string range = cat(node.name, ".range"); store.has(range)) {
          store.at(range).value.data<float>()[0] = observer.range().min;
          store.at(range).value.data<float>()[1] = observer.range().max;
        }
      }
    } else if (is_fake_quant(node)) {
      // A shared grid shares the zero point too.
      if (const Node* source = out.find(node.word("share", "")); source != nullptr) {
        if (source->has("zero_point")) node.set("zero_point", source->word("zero_point", "0"));
      }
    }
    out.add(std::move(node));
  }
  start_quantizers(out, store);
  return out;
}

}  // namespace bitloom::quant
