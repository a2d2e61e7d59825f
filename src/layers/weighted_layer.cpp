#include "weighted_layer.h"

namespace bitloom::layers {
namespace {

kernels::TrainingProblem with_precision(kernels::TrainingProblem problem,
                                        const LayerContext& context) {
  problem.precision = context.precision;
  return problem;
}

}  // namespace

WeightedLayer::WeightedLayer(const LayerContext& context, kernels::TrainingProblem problem,
                             const Shape& output)
    : product_(with_precision(problem, context),
               {.backward_data = context.training && context.inputs[0].needs_gradient,
                .backward_weights = context.training && context.inputs[1].needs_gradient}) {
  edge_.shape = output;
  source_scaled_ = context.inputs[0].gradient_factor != nullptr;
  if (problem.bias) {
    bias_ = &context.parameters.declare(context.node.name + ".bias", Shape{output.c()}, Role::kBias,
                                        {});
  }
}

void WeightedLayer::forward(const ForwardCall& call) {
  product_.forward(call.inputs[0], call.inputs[1],
                   bias_ != nullptr ? bias_->value.view() : ConstTensorView(), call.output,
                   call.scratch);
}

void WeightedLayer::backward(const BackwardCall& call) {
  kernels::TrainingProduct::Backward product{.source = call.inputs[0],
                                             .weight = call.inputs[1],
                                             .gradient = call.output_gradient,
                                             .weight_gradient = call.input_gradients[1],
                                             .source_gradient = call.input_gradients[0],
                                             .adds = call.adds,
                                             .clock = call.clock};
  if (bias_ != nullptr) product.bias_gradient = bias_->gradient;
  product_.backward(product, call.scratch);
}

}  // namespace bitloom::layers
