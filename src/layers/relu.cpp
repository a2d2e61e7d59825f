#include "bitloom/kernels/f32_elementwise.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Relu final : public Layer {
 public:
  explicit Relu(const LayerContext& context) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.backward_reads_output = true, .forward_in_place = true, .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override { kernels::relu(call.inputs[0], call.output); }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    kernels::relu_gradient(call.output, call.output_gradient, call.input_gradients[0]);
  }

 private:
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_relu(const LayerContext& context) {
  return std::make_unique<Relu>(context);
}

}  // namespace bitloom::layers
