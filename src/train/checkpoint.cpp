#include "bitloom/train/checkpoint.h"

#include <cmath>

#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/kernels/onednn.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::train {
namespace {

constexpr const char* kSchema = "bitloom.checkpoint";
constexpr int kVersion = 1;
constexpr std::string_view kParameters = "parameters/";
constexpr std::string_view kOptimizer = "optimizer/";
constexpr std::string_view kAverages = "averages/";

// Memory order of a parameter, for foreign readers.
std::string axes_of(const Shape& shape) {
  switch (shape.rank()) {
    case 4:
      return "OHWI";
    case 2:
      return "OI";
    case 1:
      return "C";
    default:
      return "";
  }
}

void require_finite(const std::string& path, const Tensor& tensor) {
  for (const float value : tensor.span<float>()) {
    if (!std::isfinite(value)) {
      throw FormatError(
          ErrorText{path, "finite values", cat(value),
                    "the run diverged or the file is damaged; take an earlier checkpoint"});
    }
  }
}

Checkpoint read_checkpoint(const Archive& archive) {
  Checkpoint checkpoint(static_cast<std::uint64_t>(archive.integer("", "seed")));
  checkpoint.network = archive.word("", "network");
  checkpoint.method = archive.word("", "method");
  checkpoint.profile = archive.word("", "profile");
  checkpoint.config_text = archive.text("config");
  checkpoint.graph = layers::Graph::parse(archive.text("graph"), "graph");
  for (const auto& [path, entry] : archive.tensors()) {
    if (entry.tensor.dtype() != DType::kF32) {
      throw FormatError(ErrorText{path, "f32", std::string(to_word(entry.tensor.dtype())), ""});
    }
    require_finite(path, entry.tensor);
    if (path.starts_with(kParameters)) {
      layers::Parameter& parameter =
          checkpoint.parameters.declare(path.substr(kParameters.size()), entry.tensor.shape(),
                                        layers::role_from_word(archive.word(path, "role")), {});
      copy(entry.tensor, parameter.value);
    } else if (path.starts_with(kOptimizer)) {
      checkpoint.optimizer_slots.emplace(path.substr(kOptimizer.size()), entry.tensor.clone());
    } else if (path.starts_with(kAverages)) {
      checkpoint.averages.emplace(path.substr(kAverages.size()), entry.tensor.clone());
    }
  }
  checkpoint.position = {.epoch = archive.integer("", "epoch"),
                         .step = archive.integer("", "step"),
                         .loss_sum = archive.real("", "loss_sum"),
                         .correct = archive.integer("", "correct"),
                         .seconds = archive.real("", "seconds"),
                         .validation_top1 = archive.real("", "validation_top1")};
  if (archive.has_attribute("", "validation_loss")) {
    checkpoint.position.validation_loss = archive.real("", "validation_loss");
  }
  if (archive.has_text("notes")) checkpoint.notes = archive.text("notes");
  checkpoint.environment = {.isa = archive.word("", "isa"),
                            .threads = static_cast<int>(archive.integer("", "threads")),
                            .onednn_version = archive.word("", "onednn_version")};
  if (archive.has_attribute("", "precision")) {
    checkpoint.environment.precision = archive.word("", "precision");
  }
  return checkpoint;
}

}  // namespace

RunEnvironment current_environment(const std::string& precision) {
  return {.isa = std::string(to_word(effective_isa())),
          .threads = threads(),
          .onednn_version = kernels::onednn_version(),
          .precision = precision};
}

void save_checkpoint(const std::filesystem::path& path, const Checkpoint& checkpoint) {
  Archive archive(kSchema, kVersion);
  archive.put_attribute("", "network", checkpoint.network);
  archive.put_attribute("", "method", checkpoint.method);
  archive.put_attribute("", "profile", checkpoint.profile);
  archive.put_attribute("", "seed", static_cast<std::int64_t>(checkpoint.parameters.seed()));
  archive.put_text("graph", checkpoint.graph.to_text());
  archive.put_text("config", checkpoint.config_text);
  for (const auto& [name, parameter] : checkpoint.parameters.all()) {
    const std::string key = cat(kParameters, name);
    archive.put(key, parameter.value.clone(), axes_of(parameter.value.shape()));
    archive.put_attribute(key, "role", std::string(to_word(parameter.role)));
  }
  for (const auto& [name, slot] : checkpoint.optimizer_slots) {
    archive.put(cat(kOptimizer, name), slot.clone(), axes_of(slot.shape()));
  }
  for (const auto& [name, average] : checkpoint.averages) {
    archive.put(cat(kAverages, name), average.clone(), axes_of(average.shape()));
  }
  const Position& position = checkpoint.position;
  archive.put_attribute("", "epoch", position.epoch);
  archive.put_attribute("", "step", position.step);
  archive.put_attribute("", "loss_sum", position.loss_sum);
  archive.put_attribute("", "correct", position.correct);
  archive.put_attribute("", "seconds", position.seconds);
  archive.put_attribute("", "validation_top1", position.validation_top1);
  archive.put_attribute("", "validation_loss", position.validation_loss);
  if (!checkpoint.notes.empty()) archive.put_text("notes", checkpoint.notes);
  archive.put_attribute("", "isa", checkpoint.environment.isa);
  archive.put_attribute("", "threads", std::int64_t{checkpoint.environment.threads});
  archive.put_attribute("", "onednn_version", checkpoint.environment.onednn_version);
  archive.put_attribute("", "precision", checkpoint.environment.precision);
  io::save_archive(path, archive);
}

Checkpoint checkpoint_from_archive(const Archive& archive) {
  archive.require_schema(kSchema, kVersion);
  return naming_source(archive, [&] { return read_checkpoint(archive); });
}

Checkpoint load_checkpoint(const std::filesystem::path& path) {
  return checkpoint_from_archive(io::load_archive(path));
}

Checkpoint load_trained(const std::filesystem::path& path) {
  Checkpoint checkpoint = load_checkpoint(path);
  put_averages(checkpoint.averages, path.string(), checkpoint.parameters);
  quant::settle_quantizers(checkpoint.graph, checkpoint.parameters);
  checkpoint.averages.clear();
  checkpoint.optimizer_slots.clear();
  return checkpoint;
}

}  // namespace bitloom::train
