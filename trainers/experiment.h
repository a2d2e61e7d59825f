// What the training commands share: data, graph and profile of a resolved config.
#pragma once

#include <filesystem>
#include <string>

#include "bitloom/datasets/dataset.h"
#include "bitloom/integer/model.h"
#include "bitloom/integer/profile.h"
#include "bitloom/layers/graph.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// A config made concrete: data in memory, pixel table, float graph.
struct Experiment {
  explicit Experiment(const Config& config);

  datasets::Dataset dataset;
  Tensor normalization;  ///< f32 [C, 256]
  bool input_is_signed;  ///< some pixel becomes negative
  layers::Graph float_graph;
  std::string network;  ///< network_name(config)
};

/// Graph of [model] for images of this shape. @throws ConfigError, FormatError, and ShapeError if a
/// model file's input or class count disagrees with the data.
layers::Graph graph_of(const ModelOptions& options, const Shape& image_shape, std::int64_t classes);

/// @throws ShapeError if a graph read from `path` takes other images or tells other classes apart.
void require_shapes_of_data(const layers::Graph& graph, const Shape& image_shape,
                            std::int64_t classes, const std::filesystem::path& path);

/// The profile by name, or the CPU's default. @throws BackendError if this CPU does not run it
/// exactly, with the remedy.
const integer::DeviceProfile& usable_profile(const std::string& name);

/// The configuration under which a checkpoint's network is quantized after training: network and
/// data are the checkpoint's, [quant], profile, threads, isa and data.path are `wanted`'s.
Config config_for(const train::Checkpoint& checkpoint, const Config& wanted,
                  const std::filesystem::path& path);

/// The profile for config.quant.method. Reals times real weights run everywhere: weight-only
/// networks take their codes from int8.
const integer::DeviceProfile& profile_of(const Config& config);

/// Images that calibration looks at: the first of the validation split, in whole batches.
struct CalibrationImages {
  std::int64_t count = 0;
  std::int64_t batch = 1;
  quant::CalibrationBatches batches;  ///< reads `experiment`, which must outlive it
};
/// At most `most` images, in batches of `batch` or of all of them. @throws ConfigError if there are
/// none and activations get grids.
CalibrationImages calibration_images(const Config& config, const Experiment& experiment,
                                     std::int64_t most, std::int64_t batch);

/// Inserts fake_quant nodes into checkpoint.graph by config.quant and sets their scales: weights
/// from themselves, activations from the validation split. The checkpoint holds the float network
/// before. Weight-only checkpoints have no profile: real products run on every device.
void quantize_checkpoint(train::Checkpoint& checkpoint, const Config& config,
                         const Experiment& experiment);

/// A float checkpoint at its first step: every parameter declared and initialised by config.seed.
train::Checkpoint float_checkpoint(const Config& config, const Experiment& experiment);
/// The same with what `drawn` holds already; config.seed initialises the rest.
train::Checkpoint float_checkpoint(const Config& config, const Experiment& experiment,
                                   layers::ParameterStore drawn);

/// The model that a checkpoint becomes; `config` is the one it stores.
integer::Model exported_model(const train::Checkpoint& checkpoint, const Config& config);

/// "w4a4", "w4a8" (ptq-dynamic), "w4a32" (ptq-weight-only), "mixed" (layer_bits) or "float".
std::string bits_label(const Config& config);

}  // namespace bitloom::trainers
