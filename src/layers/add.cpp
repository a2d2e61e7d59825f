#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Add final : public Layer {
 public:
  explicit Add(const LayerContext& context) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    if (context.inputs[1].shape == edge_.shape) return;
    throw ShapeError({.place = context.node.name,
                      .expected = cat("two inputs of one shape, ", context.node.inputs[1], " like ",
                                      context.node.inputs[0], " ", to_string(edge_.shape)),
                      .found = to_string(context.inputs[1].shape),
                      .remedy = ""});
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.forward_in_place = true, .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override {
    kernels::add(call.inputs[0], call.inputs[1], call.output);
  }

  void backward(const BackwardCall& call) override {
    for (const TensorView& gradient : call.input_gradients) {
      if (!gradient.empty()) kernels::copy_f32(call.output_gradient, gradient);
    }
  }

 private:
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_add(const LayerContext& context) {
  return std::make_unique<Add>(context);
}

}  // namespace bitloom::layers
