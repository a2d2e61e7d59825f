#include "bitloom/train/step.h"

#include <cmath>

#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/train/evaluate.h"

namespace bitloom::train {

TrainingStep::TrainingStep(Checkpoint& checkpoint, const TrainOptions& options,
                           std::string_view forward, std::int64_t classes)
    : checkpoint_(checkpoint),
      options_(options),
      network_(quant::training_graph(checkpoint.graph, forward), quant::quantized_layers(),
               checkpoint.parameters,
               {.batch = options.batch,
                .training = true,
                .precision = kernels::usable_precision(options.precision)}),
      optimizer_(checkpoint.parameters, options),
      logit_gradient_(DType::kF32, Shape{options.batch, classes}) {
  if (options.ema_decay > 0.0 && checkpoint.averages.empty()) {
    checkpoint.averages = start_averages(checkpoint.parameters);
  }
}

void TrainingStep::learn_from(Teacher& teacher, const DistillationOptions& distillation) {
  teacher_ = &teacher;
  distillation_ = distillation;
}

StepResult TrainingStep::run(ConstTensorView images, std::span<const std::int32_t> labels,
                             const StepRates& rates, LapClock* clock) {
  const ConstTensorView logits = network_.forward(images, layers::Phase::kTrain, clock);
  StepResult result;
  result.loss = layers::softmax_cross_entropy(logits, labels, logit_gradient_,
                                              static_cast<float>(options_.label_smoothing));
  if (teacher_ != nullptr) {
    result.loss =
        distill(logits, teacher_->answer(images), distillation_, result.loss, logit_gradient_);
  }
  if (!std::isfinite(result.loss)) return result;
  result.correct = count_correct(logits, labels);
  lap(clock, Lap::kLoss);
  network_.backward(logit_gradient_, clock);
  optimizer_.step(rates);
  if (options_.ema_decay > 0.0) {
    update_averages(checkpoint_.parameters, options_.ema_decay, checkpoint_.averages);
  }
  lap(clock, Lap::kOptimizer);
  return result;
}

}  // namespace bitloom::train
