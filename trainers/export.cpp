#include <algorithm>

#include "bitloom/datasets/normalization.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "experiment.h"

namespace bitloom::trainers {
namespace {

constexpr std::int64_t kBatch = 100;

// A model trained for one profile runs under another if its formats happen to fit.
void require_fits(const integer::Model& model, const integer::DeviceProfile& profile) {
  const auto refuse = [&](const std::string& place, const std::string& found) {
    throw ConfigError(ErrorText{place, cat("what profile ", profile.name, " runs"), found,
                                cat("train or quantize with profile = ", profile.name)});
  };
  for (const integer::Layer& layer : model.layers) {
    if (layer.weight.empty() || layer.mode == integer::ComputeMode::kFloat) continue;
    if (profile.signed_as_u8 && layer.mode == integer::ComputeMode::kDynamic &&
        layer.source_format.is_signed) {
      refuse(layer.name, "signed codes");
    }
    const integer::CodeRange widest = profile.widest_weights;
    if (layer.weight_range.qmin < widest.qmin || layer.weight_range.qmax > widest.qmax) {
      refuse(layer.name,
             cat("weight codes in [", layer.weight_range.qmin, ", ", layer.weight_range.qmax, "]"));
    }
  }
  for (const integer::TensorInfo& tensor : model.tensors) {
    if (profile.signed_as_u8 && tensor.dtype == DType::kS8) refuse(tensor.name, "signed codes");
  }
}

}  // namespace

integer::Model exported_model(const train::Checkpoint& checkpoint, const Config& config) {
  const std::int64_t channels = checkpoint.graph.nodes().front().shape("shape").c();
  integer::Model model =
      train::lower_checkpoint(checkpoint, datasets::normalization_table(config.data, channels));
  // Before its quantizers come in, a delayed run is a float network.
  model.weights_label = checkpoint.method == "float" ? "float" : bits_label(config);
  return model;
}

void export_model(const ExportRequest& request) {
  const train::Checkpoint checkpoint = train::load_checkpoint(request.checkpoint);
  const Config config = config_from_ini(checkpoint.config_text, request.checkpoint.string());
  integer::Model model = exported_model(checkpoint, config);
  // A model without a profile holds reals, which every device runs.
  if (!request.profile.empty() && request.profile != model.profile && !model.profile.empty()) {
    require_fits(model, integer::profile_named(request.profile));
    model.profile = request.profile;
  }
  io::save_archive(request.out, integer::to_archive(model));
}

QuantizationMeasure measure_quantization(const std::filesystem::path& path,
                                         const std::filesystem::path& reference,
                                         const Config& config) {
  train::Checkpoint checkpoint = train::load_trained(path);
  Config own = config_from_ini(checkpoint.config_text, path.string());
  own.data.path = config.data.path;
  const datasets::ImageSet images = datasets::load_test_set(own.data);
  const Tensor normalization = datasets::normalization_table(own.data, images.images.shape().c());
  const std::int64_t batch = std::min(kBatch, images.size());

  const integer::Model model = exported_model(checkpoint, own);
  const Tensor exported = train::model_logits(model, {.batch = batch}, images);
  const layers::NetworkOptions options{.batch = batch, .training = false};
  QuantizationMeasure measure;
  if (!reference.empty()) {
    train::Checkpoint original = train::load_trained(reference);
    layers::Network network(original.graph, layers::float_layers(), original.parameters, options);
    measure.sqnr_db =
        train::sqnr_db(train::network_logits(network, batch, normalization, images), exported);
  } else if (!squashes_weights(own.quant)) {
    layers::Network network(quant::strip_fake_quant(checkpoint.graph), layers::float_layers(),
                            checkpoint.parameters, options);
    measure.sqnr_db =
        train::sqnr_db(train::network_logits(network, batch, normalization, images), exported);
  }
  if (checkpoint.method == "ptq-dynamic") return measure;  // no node simulates its activations
  layers::Network simulation(checkpoint.graph, quant::quantized_layers(), checkpoint.parameters,
                             options);
  measure.simulation_agreement = train::agreement_share(
      train::network_logits(simulation, batch, normalization, images), exported);
  return measure;
}

CheckpointSummary summarize_checkpoint(const std::filesystem::path& path) {
  const train::Checkpoint checkpoint = train::load_checkpoint(path);
  return {.network = checkpoint.network,
          .method = checkpoint.method,
          .profile = checkpoint.profile,
          .config = config_from_ini(checkpoint.config_text, path.string()),
          .graph_text = checkpoint.graph.to_text(),
          .epoch = checkpoint.position.epoch,
          .step = checkpoint.position.step,
          .minutes = checkpoint.position.seconds / 60.0,
          .precision = checkpoint.environment.precision,
          .codes = quant::level_codes(checkpoint.graph, checkpoint.parameters)};
}

}  // namespace bitloom::trainers
