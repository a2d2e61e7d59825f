#include "bitloom/train/step.h"

#include <cmath>

#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/train/evaluate.h"

namespace bitloom::train {

TrainingStep::TrainingStep(Checkpoint& checkpoint, const TrainOptions& options,
                           std::string_view forward, std::int64_t classes)
    : network_(
          forward == "integer" ? quant::use_integer_forward(checkpoint.graph) : checkpoint.graph,
          quant::quantized_layers(), checkpoint.parameters,
          {.batch = options.batch, .training = true}),
      optimizer_(checkpoint.parameters, options),
      logit_gradient_(DType::kF32, Shape{options.batch, classes}) {}

StepResult TrainingStep::run(ConstTensorView images, std::span<const std::int32_t> labels,
                             double lr) {
  const ConstTensorView logits = network_.forward(images, layers::Phase::kTrain);
  StepResult result;
  result.loss = layers::softmax_cross_entropy(logits, labels, logit_gradient_);
  if (!std::isfinite(result.loss)) return result;
  result.correct = count_correct(logits, labels);
  network_.backward(logit_gradient_);
  optimizer_.step(lr);
  return result;
}

}  // namespace bitloom::train
