#include "bitloom/kernels/f32_conv2d.h"

#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Conv2d final : public Layer {
 public:
  explicit Conv2d(const LayerContext& context)
      : problem_(problem_of(context)),
        kernel_(problem_,
                {.backward_data = context.training && context.inputs[0].needs_gradient,
                 .backward_weights = context.training && context.inputs[1].needs_gradient}) {
    edge_.shape = kernels::conv2d_output(context.node.name, problem_);
    if (problem_.bias) {
      bias_ = &context.parameters.declare(context.node.name + ".bias", Shape{edge_.shape.c()},
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
    }
    if (!call.input_gradients[0].empty()) {
      kernel_.backward_data(call.output_gradient, call.inputs[1], call.input_gradients[0],
                            call.scratch);
    }
  }

 private:
  static kernels::F32Conv2dProblem problem_of(const LayerContext& context) {
    require_reals(context);
    const kernels::F32Conv2dProblem problem{.source = context.inputs[0].shape,
                                            .weight = context.inputs[1].shape,
                                            .window = window_of(context.node, 1),
                                            .bias = flag(context.node, "bias", false)};
    kernels::conv2d_output(context.node.name, problem);  // so that errors name the node
    return problem;
  }

  kernels::F32Conv2dProblem problem_;
  kernels::F32Conv2d kernel_;
  Parameter* bias_ = nullptr;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_conv2d(const LayerContext& context) {
  return std::make_unique<Conv2d>(context);
}

}  // namespace bitloom::layers
