#include "bitloom/kernels/f32_elementwise.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Flatten final : public Layer {
 public:
  explicit Flatten(const LayerContext& context) {
    const Shape& shape = context.inputs[0].shape;
    edge_ = same_kind(context.inputs[0], {shape.n(), shape.c() * shape.h() * shape.w()});
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override { return {.aliases_input = true, .backward_in_place = true}; }

  void forward(const ForwardCall&) override {}

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    kernels::copy_f32(call.output_gradient, call.input_gradients[0]);
  }

 private:
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_flatten(const LayerContext& context) {
  return std::make_unique<Flatten>(context);
}

}  // namespace bitloom::layers
