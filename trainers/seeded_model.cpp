#include "bitloom/trainers/seeded_model.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/models/networks.h"
#include "bitloom/train/loop.h"
#include "experiment.h"

namespace bitloom::trainers {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

// Uniform in [low, high].
struct Range {
  float low = 0.0F;
  float high = 0.0F;
};

// Numbers are drawn for the first kPeriod values, a prime, and repeated behind them: VGG's 138
// million would take seconds each.
void fill(Tensor& tensor, const RandomStream& random, Range range) {
  constexpr std::size_t kPeriod = 65537;
  const auto values = tensor.span<float>();
  const std::size_t drawn = std::min(values.size(), kPeriod);
  for (std::size_t i = 0; i < drawn; ++i) {
    values[i] = range.low + (range.high - range.low) * random.uniform(i);
  }
  for (std::size_t i = kPeriod; i < values.size(); i += kPeriod) {
    std::copy_n(values.begin(), std::min(kPeriod, values.size() - i), values.subspan(i).begin());
  }
}

// Half the width of a uniform distribution of He's deviation.
float he_bound(const Shape& shape) {
  const std::int64_t fan_in = shape.elements() / shape[0];
  return static_cast<float>(std::sqrt(6.0 / static_cast<double>(fan_in)));
}

// Before the network declares its parameters: it would draw normal numbers for them.
void declare_weights(const Graph& graph, ParameterStore& store) {
  for (const Node& node : graph.nodes()) {
    if (node.op != "parameter") continue;
    const Shape shape = node.shape("shape");
    const float bound = he_bound(shape);
    fill(store.declare(node.name, shape, layers::Role::kWeight, {}).value,
         RandomStream(store.seed(), node.name), {-bound, bound});
  }
}

bool is_added(const Graph& graph, const Node& node) {
  const std::vector<std::string> readers = graph.readers(node.name);
  return std::any_of(readers.begin(), readers.end(),
                     [&](const std::string& name) { return graph.find(name)->op == "add"; });
}

void fill_norm(const Graph& graph, const Node& norm, ParameterStore& store) {
  const float share = is_added(graph, norm) ? 0.2F : 1.0F;
  const auto put = [&](const char* word, Range range) {
    const std::string name = norm.name + word;
    fill(store.at(name).value, RandomStream(store.seed(), name), range);
  };
  put(".gamma", {share * 0.75F, share * 1.25F});
  put(".beta", {-0.2F, 0.2F});
  put(".running_mean", {-0.2F, 0.2F});
  put(".running_var", {0.75F, 1.5F});
}

// Everything but the weights, once it is declared.
void fill_rest(const Graph& graph, ParameterStore& store) {
  for (const Node& node : graph.nodes()) {
    if (node.op == "batch_norm") fill_norm(graph, node, store);
  }
  for (auto& [name, parameter] : store.all()) {
    if (parameter.role != layers::Role::kBias) continue;
    fill(parameter.value, RandomStream(store.seed(), name), {-0.1F, 0.1F});
  }
}

}  // namespace

Config seeded_config(const SeededModel& wanted) {
  const bool known = wanted.method == "float" || wanted.method.starts_with("ptq-");
  if (!known) {
    throw ConfigError(ErrorText{"--method", "float, ptq-static, ptq-dynamic or ptq-weight-only",
                                cat("'", wanted.method, "'"),
                                "quantization-aware training runs the integers of ptq-static"});
  }
  const models::NetworkShape shape = models::native_shape(wanted.network);
  Config config;
  config.seed = wanted.seed;
  config.model.network = wanted.network;
  config.quant.method = wanted.method;
  config.quant.observer = "minmax";
  config.quant.calibration_images = kSeededCalibrationImages;
  datasets::DataOptions& data = config.data;
  data.reader = "synthetic";
  data.classes = shape.classes;
  data.mean = {0.5F};
  data.stddev = {0.25F};
  data.synthetic_channels = shape.channels;
  data.synthetic_height = shape.height;
  data.synthetic_width = shape.width;
  data.validation_images = kSeededCalibrationImages;
  data.synthetic_images = kSeededCalibrationImages + 1;
  data.synthetic_test_images = 1;
  if (wanted.method == "ptq-static" || wanted.method == "ptq-dynamic") {
    config.profile = usable_profile(wanted.profile).name;
  }
  return config;
}

integer::Model seeded_model(const SeededModel& wanted) {
  const Config config = seeded_config(wanted);
  const Experiment experiment(config);
  ParameterStore weights(config.seed);
  declare_weights(experiment.float_graph, weights);
  train::Checkpoint checkpoint = float_checkpoint(config, experiment, std::move(weights));
  fill_rest(checkpoint.graph, checkpoint.parameters);
  if (wanted.method != "float") quantize_checkpoint(checkpoint, config, experiment);
  checkpoint.config_text = to_ini(config);
  return exported_model(checkpoint, config);
}

}  // namespace bitloom::trainers
