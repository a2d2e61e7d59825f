// What conv2d and linear share: a product of input and weight, with or without a bias.
#pragma once

#include "bitloom/kernels/training_product.h"
#include "float_layers.h"

namespace bitloom::layers {

class WeightedLayer final : public Layer {
 public:
  /// `problem` without its precision, which is the context's.
  WeightedLayer(const LayerContext& context, kernels::TrainingProblem problem, const Shape& output);

  const Edge& output() const override { return edge_; }
  LayerMemory memory() const override {
    return {.scratch_bytes = product_.scratch_bytes(),
            .backward_reads_input = {true, true},
            .backward_adds = product_.adds_source_gradient(),
            .backward_reads_bf16 = product_.reads_bf16_gradient(),
            .backward_writes_bf16 = {product_.writes_bf16_gradient() && !source_scaled_, false}};
  }
  void forward(const ForwardCall& call) override;
  void backward(const BackwardCall& call) override;

 private:
  kernels::TrainingProduct product_;
  Parameter* bias_ = nullptr;
  bool source_scaled_ = false;  // gradients in bf16 of what the source comes from have a factor
  Edge edge_;
};

}  // namespace bitloom::layers
