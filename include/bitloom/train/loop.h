// The one training loop: float and quantization-aware alike.
// Comes from: trainers. Goes to: checkpoint, validation through deploy and backends.
#pragma once

#include <functional>

#include "bitloom/datasets/dataset.h"
#include "bitloom/integer/model.h"
#include "bitloom/quant/options.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/distillation.h"
#include "bitloom/train/options.h"

namespace bitloom::train {

/// What the loop tells its owner after each step; epoch_done on an epoch's last one.
struct Progress {
  const Position& position;  ///< after the step; an epoch's end keeps its own sums here
  std::int64_t steps = 0;    ///< in an epoch
  std::int64_t images = 0;   ///< seen in this epoch
  double lr = 0.0;
  double images_per_second = 0.0;  ///< since the loop or the epoch began
  double loader_wait_ms = 0.0;     ///< spent waiting for batches since then
  bool epoch_done = false;
};

struct LoopOptions {
  TrainOptions train;
  std::string forward = "integer";  ///< "integer" or "float" for graphs with fake_quant nodes
  std::string validation_backend = "onednn";
  std::uint64_t seed = 1;
  datasets::AugmentOptions augment;
  /// Called before the first step of each epoch, also of one that a resumed run has not begun. May
  /// change the checkpoint's graph and parameters (quantizers come in, ranges freeze); true if it
  /// did. The optimizer's slots stay with the parameters that stay; averages start again.
  std::function<bool()> begin_epoch;
  Teacher* teacher = nullptr;  ///< whose answers count distillation.weight of the loss
  DistillationOptions distillation;
  std::function<void(const Progress&)> on_step;
  std::function<void()> save;         ///< writes the checkpoint as it stands
  std::function<bool()> should_stop;  ///< asked after each step
};

/// Trains checkpoint.graph on dataset.train from checkpoint.position to options.train.epochs.
///
/// A step: batch > TrainingStep at rates_at() of the schedule, on the graph that
/// quant::training_graph makes. At each epoch's end the graph is lowered and run
/// on the validation images by `validation_backend`, with averaged weights where the recipe keeps
/// them: what is validated is what is exported.
/// Returns false if should_stop ended it; the checkpoint then was saved at that step.
/// @throws ConfigError for contradictory train options; NumericError naming epoch and step if a
/// loss is not finite, keeping the last saved file.
bool run_loop(Checkpoint& checkpoint, const datasets::Dataset& dataset, const Tensor& normalization,
              const LoopOptions& options);

/// Lowers the checkpoint as it stands, with its averages in place of its weights if it has any.
/// `normalization` is f32 [C, 256].
integer::Model lower_checkpoint(const Checkpoint& checkpoint, ConstTensorView normalization);

}  // namespace bitloom::train
