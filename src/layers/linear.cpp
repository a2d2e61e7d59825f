#include "bitloom/kernels/f32_linear.h"

#include "bitloom/core/error.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Linear final : public Layer {
 public:
  explicit Linear(const LayerContext& context)
      : problem_(problem_of(context)),
        kernel_(problem_,
                {.backward_data = context.training && context.inputs[0].needs_gradient,
                 .backward_weights = context.training && context.inputs[1].needs_gradient}) {
    edge_.shape = Shape{problem_.source.n(), problem_.weight.n()};
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
  static kernels::F32LinearProblem problem_of(const LayerContext& context) {
    require_reals(context);
    const Shape& source = context.inputs[0].shape;
    const Shape& weight = context.inputs[1].shape;
    if (source.rank() != 2) {
      throw ShapeError({.place = context.node.name,
                        .expected = "input [N, I]",
                        .found = to_string(source),
                        .remedy = "put a flatten before it"});
    }
    if (weight.rank() != 2 || weight.c() != source.c()) {
      throw ShapeError(
          {.place = context.node.name,
           .expected = cat("weight [O, ", source.c(), "] for input ", to_string(source)),
           .found = to_string(weight),
           .remedy = ""});
    }
    return {.source = source, .weight = weight, .bias = flag(context.node, "bias", false)};
  }

  kernels::F32LinearProblem problem_;
  kernels::F32Linear kernel_;
  Parameter* bias_ = nullptr;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_linear(const LayerContext& context) {
  return std::make_unique<Linear>(context);
}

}  // namespace bitloom::layers
