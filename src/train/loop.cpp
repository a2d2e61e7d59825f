#include "bitloom/train/loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>

#include "bitloom/datasets/loader.h"
#include "bitloom/deploy/lower.h"
#include "bitloom/integer/profile.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/step.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kEvaluationBatch = 100;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

double validate(const Checkpoint& checkpoint, const datasets::Dataset& dataset,
                ConstTensorView normalization, const LoopOptions& options) {
  if (dataset.validation.size() == 0) return 0.0;
  const integer::Model model = lower_checkpoint(checkpoint, normalization);
  const Tensor logits =
      model_logits(model,
                   {.backend = options.validation_backend,
                    .batch = std::min(kEvaluationBatch, dataset.validation.size())},
                   dataset.validation);
  return top1_percent(logits, dataset.validation.labels);
}

}  // namespace

integer::Model lower_checkpoint(const Checkpoint& checkpoint, ConstTensorView normalization) {
  return deploy::lower(checkpoint.graph, checkpoint.parameters,
                       {.network = checkpoint.network,
                        .method = checkpoint.method,
                        .profile = checkpoint.method == "float" ? "" : checkpoint.profile,
                        .config_text = checkpoint.config_text,
                        .normalization = normalization});
}

bool run_loop(Checkpoint& checkpoint, const datasets::Dataset& dataset, const Tensor& normalization,
              const LoopOptions& options) {
  const std::int64_t batch = options.train.batch;
  TrainingStep training_step(checkpoint, options.train, options.forward, dataset.classes);
  Sgd& optimizer = training_step.optimizer();
  if (!checkpoint.optimizer_slots.empty()) {
    optimizer.restore(checkpoint.optimizer_slots, "checkpoint");
  }
  datasets::BatchLoader loader(dataset.train, normalization.clone(),
                               {.batch = batch, .seed = options.seed, .augment = options.augment});
  const std::int64_t steps = loader.batches();
  const std::int64_t all_steps = steps * options.train.epochs;
  Position& position = checkpoint.position;
  const auto save = [&] {
    checkpoint.optimizer_slots.clear();
    for (const auto& [name, slot] : optimizer.slots()) {
      checkpoint.optimizer_slots.emplace(name, slot.clone());
    }
    options.save();
  };

  while (position.epoch < options.train.epochs) {
    loader.start(position.epoch, position.step);
    const auto start = std::chrono::steady_clock::now();
    const double seconds_before = position.seconds;
    const std::int64_t first_step = position.step;
    while (const std::optional<datasets::Batch> data = loader.next()) {
      const std::int64_t global_step = position.epoch * steps + position.step;
      const double lr = learning_rate(options.train, global_step, all_steps, steps);
      const StepResult result = training_step.run(data->images, data->labels, lr);
      if (!std::isfinite(result.loss)) {
        throw NumericError(ErrorText{
            cat("epoch ", position.epoch + 1, ", step ", position.step + 1), "a finite loss",
            cat(result.loss), "lower train.lr; the last checkpoint is whole"});
      }
      position.correct += result.correct;
      position.loss_sum += result.loss;
      ++position.step;

      const double elapsed = seconds_since(start);
      position.seconds = seconds_before + elapsed;
      const double rate = static_cast<double>((position.step - first_step) * batch) / elapsed;
      const auto report = [&](const Position& at, bool done) {
        if (!options.on_step) return;
        options.on_step({at, steps, at.step * batch, lr, rate, done});
      };
      if (position.step == steps) {
        position.validation_top1 = validate(checkpoint, dataset, normalization, options);
        const Position finished = position;
        position = {.epoch = finished.epoch + 1,
                    .seconds = finished.seconds,
                    .validation_top1 = finished.validation_top1};
        save();
        report(finished, true);
        if (options.should_stop && options.should_stop()) {
          return position.epoch == options.train.epochs;
        }
        break;
      }
      report(position, false);
      const bool stop = options.should_stop && options.should_stop();
      const std::int64_t every = options.train.checkpoint_steps;
      if (stop || (every > 0 && position.step % every == 0)) save();
      if (stop) return false;
    }
  }
  return true;
}

}  // namespace bitloom::train
