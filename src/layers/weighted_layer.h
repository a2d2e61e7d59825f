// What conv2d and linear share: an f32 product of input and weight, with or without a bias.
#pragma once

#include "float_layers.h"

namespace bitloom::layers {

/// Kernel is kernels::F32Conv2d or kernels::F32Linear, Problem what it is made from.
template <typename Problem, typename Kernel>
class WeightedLayer final : public Layer {
 public:
  WeightedLayer(const LayerContext& context, const Problem& problem, const Shape& output)
      : kernel_(problem,
                {.backward_data = context.training && context.inputs[0].needs_gradient,
                 .backward_weights = context.training && context.inputs[1].needs_gradient}) {
    edge_.shape = output;
    if (problem.bias) {
      bias_ = &context.parameters.declare(context.node.name + ".bias", Shape{output.c()},
                                          Role::kBias, {});
    }
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.scratch_bytes = kernel_.scratch_bytes(), .backward_reads_input = {true, true}};
  }

  void forward(const ForwardCall& call) override {
    kernel_.forward(call.inputs[0], call.inputs[1],
                    bias_ != nullptr ? bias_->value.view() : TensorView(), call.output,
                    call.scratch);
  }

  void backward(const BackwardCall& call) override {
    if (!call.input_gradients[1].empty()) {
      kernel_.backward_weights(call.inputs[0], call.output_gradient, call.input_gradients[1],
                               bias_ != nullptr ? bias_->gradient.view() : TensorView(),
                               call.scratch);
      lap(call.clock, Lap::kBackwardWeights);
    }
    if (!call.input_gradients[0].empty()) {
      kernel_.backward_data(call.output_gradient, call.inputs[1], call.input_gradients[0],
                            call.scratch);
    }
  }

 private:
  Kernel kernel_;
  Parameter* bias_ = nullptr;
  Edge edge_;
};

}  // namespace bitloom::layers
