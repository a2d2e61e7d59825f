#include "bitloom/train/distillation.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/quantized_layers.h"

namespace bitloom::train {
namespace {

// log of the sum of exp((row - largest) / T).
float log_sum(const float* row, std::int64_t classes, float largest, float inverse) {
  float sum = 0.0F;
  for (std::int64_t c = 0; c < classes; ++c) sum += std::exp((row[c] - largest) * inverse);
  return std::log(sum);
}

struct RowFactors {
  float inverse_temperature;
  float label_share;     // 1 - w
  float teacher_factor;  // w * T / N
};

// KL of one row; blends its gradient.
double blend_row(const float* logits, const float* teacher, std::int64_t classes,
                 const RowFactors& factors, float* gradient) {
  const float inverse = factors.inverse_temperature;
  const float top = *std::max_element(logits, logits + classes);
  const float teacher_top = *std::max_element(teacher, teacher + classes);
  const float log_total = log_sum(logits, classes, top, inverse);
  const float teacher_log_total = log_sum(teacher, classes, teacher_top, inverse);
  double divergence = 0.0;
  for (std::int64_t c = 0; c < classes; ++c) {
    const float log_q = (logits[c] - top) * inverse - log_total;
    const float log_p = (teacher[c] - teacher_top) * inverse - teacher_log_total;
    const float p = std::exp(log_p);
    divergence += static_cast<double>(p) * static_cast<double>(log_p - log_q);
    gradient[c] =
        factors.label_share * gradient[c] + factors.teacher_factor * (std::exp(log_q) - p);
  }
  return divergence;
}

}  // namespace

double distill(ConstTensorView logits, ConstTensorView teacher, const DistillationOptions& options,
               double loss, TensorView gradient) {
  const Shape& shape = logits.shape();
  for (const Shape& other : {teacher.shape(), gradient.shape()}) {
    if (other == shape) continue;
    throw ShapeError(ErrorText{"distillation",
                               cat("[N, classes] like the logits, ", to_string(shape)),
                               to_string(other), "take a teacher of the same data set"});
  }
  const std::int64_t rows = shape[0];
  const std::int64_t classes = shape.elements() / rows;
  const double t = options.temperature;
  const RowFactors factors{
      .inverse_temperature = static_cast<float>(1.0 / t),
      .label_share = static_cast<float>(1.0 - options.weight),
      .teacher_factor = static_cast<float>(options.weight * t / static_cast<double>(rows))};
  double divergence = 0.0;
  for (std::int64_t n = 0; n < rows; ++n) {
    divergence += blend_row(logits.data<float>() + n * classes, teacher.data<float>() + n * classes,
                            classes, factors, gradient.data<float>() + n * classes);
  }
  return (1.0 - options.weight) * loss +
         options.weight * t * t * divergence / static_cast<double>(rows);
}

Teacher::Teacher(Checkpoint checkpoint, std::int64_t batch, kernels::Precision precision)
    : checkpoint_(std::move(checkpoint)),
      network_(checkpoint_.graph, quant::quantized_layers(), checkpoint_.parameters,
               {.batch = batch, .training = false, .precision = precision}) {}

ConstTensorView Teacher::answer(ConstTensorView images) {
  return network_.forward(images, layers::Phase::kEvaluate);
}

}  // namespace bitloom::train
