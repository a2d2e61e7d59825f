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

// What was seen of one activation.
struct Observed {
  bool any = false;
  kernels::MinMax range;
  Histogram histogram;
};

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

float scale_by(ObserverKind kind, std::span<const float> values,
               const integer::AffineFormat& format) {
  if (kind == ObserverKind::kMse) return mse_scale(values, format);
  return scale_for_range(
      kernels::reference::min_max(values.data(), static_cast<std::int64_t>(values.size())), format);
}

void calibrate_weight(const Node& node, ParameterStore& store, ObserverKind kind) {
  const Tensor& weight = store.at(node.inputs[0]).value;
  require_finite(node.inputs[0], kernels::min_max(weight.data<float>(), weight.elements()));
  const integer::AffineFormat format = format_of(node);
  const std::int64_t rows = node.has("axis") ? weight.shape()[0] : 1;
  const std::int64_t cols = weight.elements() / rows;
  float* scale = store.at(scale_name(node)).value.data<float>();
  parallel_for(rows, 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      scale[row] = scale_by(kind,
                            weight.span<float>().subspan(static_cast<std::size_t>(row * cols),
                                                         static_cast<std::size_t>(cols)),
                            format);
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
    scale[row] = std::max(scale[row], largest * kSmallestChannelRatio);
  }
}

}  // namespace

Graph calibrate(const Graph& graph, ParameterStore& store, const CalibrationBatches& batches,
                std::int64_t batch, ObserverKind kind) {
  // Declares every parameter, scales included, before they are set.
  layers::Network declared(graph, quantized_layers(), store, {.batch = batch, .training = false});
  layers::Network network(strip_fake_quant(graph), layers::float_layers(), store,
                          {.batch = batch, .training = false, .keep_all_tensors = true});
  std::map<std::string, Observed> observed;
  for (const Node& node : graph.nodes()) {
    if (is_fake_quant(node) && !node.has("share") && !is_weight(graph, node)) {
      observed[node.inputs[0]];
    }
  }

  bool any = false;
  batches([&](ConstTensorView images) {
    any = true;
    network.forward(images, layers::Phase::kEvaluate);
    for (auto& [name, seen] : observed) {
      const ConstTensorView tensor = network.tensor(name);
      const kernels::MinMax range = kernels::min_max(tensor.data<float>(), tensor.elements());
      require_finite(name, range);
      seen.range = seen.any ? kernels::MinMax{std::min(seen.range.min, range.min),
                                              std::max(seen.range.max, range.max)}
                            : range;
      seen.any = true;
    }
  });
  if (!any) {
    throw ConfigError(ErrorText{"calibration", "at least one full batch of images", "none",
                                "raise quant.calibration_images or data.validation_images"});
  }
  if (kind == ObserverKind::kMse) {
    for (auto& [name, seen] : observed) seen.histogram = Histogram(seen.range);
    batches([&](ConstTensorView images) {
      network.forward(images, layers::Phase::kEvaluate);
      for (auto& [name, seen] : observed) seen.histogram.add(network.tensor(name).span<float>());
    });
  }

  Graph out;
  for (const Node& original : graph.nodes()) {
    Node node = original;
    if (is_fake_quant(node) && !node.has("share")) {
      if (is_weight(graph, node)) {
        calibrate_weight(node, store, kind);
      } else {
        const Observed& seen = observed.at(node.inputs[0]);
        integer::AffineFormat format = format_of(node);
        if (node.integer("asymmetric", 0) != 0) {
          format.zero_point = asymmetric_grid(seen.range, format.range).zero_point;
          node.set("zero_point", cat(format.zero_point));
        }
        store.at(scale_name(node)).value.data<float>()[0] =
            kind == ObserverKind::kMse ? mse_scale(seen.histogram, format)
                                       : scale_for_range(seen.range, format);
        if (const std::string range = cat(node.name, ".range"); store.has(range)) {
          store.at(range).value.data<float>()[0] = seen.range.min;
          store.at(range).value.data<float>()[1] = seen.range.max;
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
  return out;
}

}  // namespace bitloom::quant
