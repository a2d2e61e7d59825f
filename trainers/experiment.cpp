#include "experiment.h"

#include <algorithm>

#include "bitloom/core/cpu.h"
#include "bitloom/datasets/loader.h"
#include "bitloom/datasets/normalization.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/layers/network.h"
#include "bitloom/models/networks.h"
#include "bitloom/quant/quantize.h"
#include "bitloom/trainers/commands.h"

namespace bitloom::trainers {
namespace {

constexpr std::int64_t kCalibrationBatch = 128;

bool any_negative(const Tensor& table) {
  const auto values = table.span<float>();
  return std::any_of(values.begin(), values.end(), [](float value) { return value < 0.0F; });
}

// The last product of a graph has as many outputs as there are classes.
std::int64_t outputs_of(const layers::Graph& graph) {
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (node->op == "linear" || node->op == "conv2d") {
      return graph.find(node->inputs[1])->shape("shape")[0];
    }
  }
  return 0;
}

}  // namespace

layers::Graph graph_of(const ModelOptions& options, const Shape& image_shape,
                       std::int64_t classes) {
  if (options.file.empty()) {
    return models::build_network(options.network, {.channels = image_shape.c(),
                                                   .height = image_shape.h(),
                                                   .width = image_shape.w(),
                                                   .classes = classes});
  }
  constexpr std::int64_t kMostBytes = 1 << 20;
  layers::Graph graph =
      layers::Graph::parse(io::read_whole_file(options.file, kMostBytes), options.file);
  require_shapes_of_data(graph, image_shape, classes, options.file);
  return graph;
}

void require_shapes_of_data(const layers::Graph& graph, const Shape& image_shape,
                            std::int64_t classes, const std::filesystem::path& path) {
  const Shape input = graph.nodes().front().shape("shape");
  if (input != image_shape) {
    throw ShapeError(ErrorText{cat(path.string(), ": ", graph.nodes().front().name),
                               layers::shape_text(image_shape, true),
                               layers::shape_text(input, true),
                               "the data set has other images; change the input's shape"});
  }
  if (outputs_of(graph) != classes) {
    throw ShapeError(ErrorText{path.string(), cat(classes, " outputs, one a class"),
                               cat(outputs_of(graph)), "change the last layer or data.classes"});
  }
}

Experiment::Experiment(const Config& config)
    : dataset(datasets::load_dataset(config.data)),
      normalization(datasets::normalization_table(config.data, dataset.image_shape.c())),
      input_is_signed(any_negative(normalization)),
      float_graph(graph_of(config.model, dataset.image_shape, dataset.classes)),
      network(network_name(config)) {}

std::string network_name(const Config& config) {
  if (config.model.file.empty()) return config.model.network;
  return std::filesystem::path(config.model.file).stem().string();
}

const integer::DeviceProfile& usable_profile(const std::string& name) {
  const Isa isa = effective_isa();
  const integer::DeviceProfile& profile =
      name.empty() ? integer::default_profile(isa) : integer::profile_named(name);
  if (const std::string objection = integer::profile_objection(profile, isa); !objection.empty()) {
    throw BackendError(ErrorText{cat("profile ", profile.name), "a CPU that runs it exactly",
                                 objection,
                                 cat("set profile = ", integer::default_profile(isa).name)});
  }
  return profile;
}

train::Checkpoint float_checkpoint(const Config& config, const Experiment& experiment) {
  return float_checkpoint(config, experiment, layers::ParameterStore(config.seed));
}

train::Checkpoint float_checkpoint(const Config& config, const Experiment& experiment,
                                   layers::ParameterStore drawn) {
  train::Checkpoint checkpoint(config.seed);
  checkpoint.parameters = std::move(drawn);
  checkpoint.network = experiment.network;
  checkpoint.method = "float";
  checkpoint.profile = config.profile;
  checkpoint.graph = experiment.float_graph;
  // Building a network declares its parameters.
  const layers::Network declared(checkpoint.graph, layers::float_layers(), checkpoint.parameters,
                                 {.batch = 1, .training = false});
  return checkpoint;
}

Config config_for(const train::Checkpoint& checkpoint, const Config& wanted,
                  const std::filesystem::path& path) {
  Config config = config_from_ini(checkpoint.config_text, path.string());
  config.quant = wanted.quant;
  config.profile =
      wanted.quant.method == "ptq-weight-only" ? "" : usable_profile(wanted.profile).name;
  config.threads = wanted.threads;
  config.isa = wanted.isa;
  config.data.path = wanted.data.path;
  return config;
}

const integer::DeviceProfile& profile_of(const Config& config) {
  return config.quant.method == "ptq-weight-only" ? integer::profile_named("int8")
                                                  : usable_profile(config.profile);
}

CalibrationImages calibration_images(const Config& config, const Experiment& experiment,
                                     std::int64_t most, std::int64_t batch) {
  const datasets::ImageSet& images = experiment.dataset.validation;
  const std::int64_t count = std::min(most, images.size());
  if (count == 0 && quant::has_activation_grids(config.quant)) {
    throw ConfigError(ErrorText{"calibration", "images in the validation split", "none",
                                "raise data.validation_images and quant.calibration_images"});
  }
  const std::int64_t each = std::clamp<std::int64_t>(count, 1, batch);
  return {count, each, [&images, &experiment, count, each](const auto& use) {
            Tensor input(DType::kF32, images.images.shape().with_batch(each));
            for (std::int64_t begin = 0; begin + each <= count; begin += each) {
              datasets::normalize(images.view(begin, each), experiment.normalization, input);
              use(input);
            }
          }};
}

void quantize_checkpoint(train::Checkpoint& checkpoint, const Config& config,
                         const Experiment& experiment) {
  const integer::DeviceProfile& profile = profile_of(config);
  const CalibrationImages images =
      calibration_images(config, experiment, config.quant.calibration_images, kCalibrationBatch);
  checkpoint.graph =
      quant::quantize_network(checkpoint.graph, checkpoint.parameters, config.quant,
                              {.profile = profile, .input_is_signed = experiment.input_is_signed},
                              images.batches, images.batch);
  // No device's formats limit weight-only models.
  checkpoint.profile = config.quant.method == "ptq-weight-only" ? "" : profile.name;
  checkpoint.method = config.quant.method;
}

std::string bits_label(const Config& config) {
  if (config.quant.method == "float") return "float";
  if (!config.quant.layer_bits.empty() || config.quant.bits == "auto") return "mixed";
  return cat("w", config.quant.weight_bits, "a", quant::computed_activation_bits(config.quant));
}

}  // namespace bitloom::trainers
