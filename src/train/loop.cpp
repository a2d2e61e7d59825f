#include "bitloom/train/loop.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <memory>
#include <optional>

#include "bitloom/datasets/loader.h"
#include "bitloom/deploy/lower.h"
#include "bitloom/integer/profile.h"
#include "bitloom/quant/quantizer.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/optimizer.h"
#include "bitloom/train/step.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kEvaluationBatch = 100;

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Sets validation_top1 and validation_loss.
void validate(Checkpoint& checkpoint, const datasets::Dataset& dataset,
              ConstTensorView normalization, const LoopOptions& options) {
  if (dataset.validation.size() == 0) return;
  quant::settle_quantizers(checkpoint.graph, checkpoint.parameters);
  const integer::Model model = lower_checkpoint(checkpoint, normalization);
  const Tensor logits =
      model_logits(model,
                   {.backend = options.validation_backend,
                    .batch = std::min(kEvaluationBatch, dataset.validation.size())},
                   dataset.validation);
  Tensor unused(DType::kF32, logits.shape());
  Position& position = checkpoint.position;
  position.validation_top1 = top1_percent(logits, dataset.validation.labels);
  position.validation_loss =
      layers::softmax_cross_entropy(logits, dataset.validation.labels, unused);
}

std::map<std::string, Tensor> copies(const std::map<std::string, Tensor>& slots) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, slot] : slots) out.emplace(name, slot.clone());
  return out;
}

// The slots of `fresh`, with what `old` has of the same name and shape.
std::map<std::string, Tensor> carried(const std::map<std::string, Tensor>& old,
                                      const std::map<std::string, Tensor>& fresh) {
  std::map<std::string, Tensor> out;
  for (const auto& [name, slot] : fresh) {
    const auto found = old.find(name);
    const bool stays = found != old.end() && found->second.shape() == slot.shape();
    out.emplace(name, stays ? found->second.clone() : slot.clone());
  }
  return out;
}

// Plans the step before the loop's first one, and again where an epoch begins with another graph.
void prepare(std::unique_ptr<TrainingStep>& step, Checkpoint& checkpoint,
             const LoopOptions& options, std::int64_t classes) {
  const bool changed =
      checkpoint.position.step == 0 && options.begin_epoch && options.begin_epoch();
  if (step && !changed) return;
  std::map<std::string, Tensor> slots =
      step ? copies(step->optimizer().slots()) : copies(checkpoint.optimizer_slots);
  if (changed) checkpoint.averages.clear();
  step.reset();  // its memory goes before the next one's comes
  step = std::make_unique<TrainingStep>(checkpoint, options.train, options.forward, classes);
  if (options.teacher != nullptr) step->learn_from(*options.teacher, options.distillation);
  if (changed) slots = carried(slots, step->optimizer().slots());
  if (!slots.empty()) step->optimizer().restore(slots, "checkpoint");
}

}  // namespace

integer::Model lower_checkpoint(const Checkpoint& checkpoint, ConstTensorView normalization) {
  const auto lower = [&](const layers::Graph& graph, const layers::ParameterStore& parameters) {
    return deploy::lower(graph, parameters,
                         {.network = checkpoint.network,
                          .method = checkpoint.method,
                          .profile = checkpoint.method == "float" ? "" : checkpoint.profile,
                          .config_text = checkpoint.config_text,
                          .normalization = normalization});
  };
  if (checkpoint.averages.empty()) return lower(checkpoint.graph, checkpoint.parameters);
  layers::ParameterStore averaged(checkpoint.parameters.seed());
  for (const auto& [name, parameter] : checkpoint.parameters.all()) {
    const Tensor& value = parameter.value;
    copy(value, averaged.declare(name, value.shape(), parameter.role, {}).value);
  }
  put_averages(checkpoint.averages, "checkpoint", averaged);
  layers::Graph graph = checkpoint.graph;
  quant::settle_quantizers(graph, averaged);
  return lower(graph, averaged);
}

bool run_loop(Checkpoint& checkpoint, const datasets::Dataset& dataset, const Tensor& normalization,
              const LoopOptions& options) {
  for (const ErrorText& text : contradictions(options.train)) throw ConfigError(text);
  const std::int64_t batch = options.train.batch;
  std::unique_ptr<TrainingStep> training_step;
  datasets::BatchLoader loader(dataset.train, normalization.clone(),
                               {.batch = batch, .seed = options.seed, .augment = options.augment});
  const std::int64_t steps = loader.batches();
  const std::int64_t all_steps = steps * options.train.epochs;
  Position& position = checkpoint.position;
  const auto save = [&] {
    const bool finished = position.epoch == options.train.epochs;
    checkpoint.optimizer_slots =
        finished ? std::map<std::string, Tensor>() : copies(training_step->optimizer().slots());
    quant::settle_quantizers(checkpoint.graph, checkpoint.parameters);
    options.save();
  };

  while (position.epoch < options.train.epochs) {
    prepare(training_step, checkpoint, options, dataset.classes);
    loader.start(position.epoch, position.step);
    const auto start = std::chrono::steady_clock::now();
    const double seconds_before = position.seconds;
    const std::int64_t first_step = position.step;
    while (const std::optional<datasets::Batch> data = loader.next()) {
      const std::int64_t global_step = position.epoch * steps + position.step;
      const StepRates rates = rates_at(options.train, global_step, all_steps, steps);
      const StepResult result = training_step->run(data->images, data->labels, rates);
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
        options.on_step({.position = at,
                         .steps = steps,
                         .images = at.step * batch,
                         .lr = rates.lr,
                         .images_per_second = rate,
                         .loader_wait_ms = loader.waits().milliseconds,
                         .epoch_done = done});
      };
      if (position.step == steps) {
        validate(checkpoint, dataset, normalization, options);
        const Position finished = position;
        position = {.epoch = finished.epoch + 1,
                    .seconds = finished.seconds,
                    .validation_top1 = finished.validation_top1,
                    .validation_loss = finished.validation_loss};
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
