#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class Clip final : public Layer {
 public:
  Clip(const LayerContext& context, const kernels::ClipBounds& bounds) : bounds_(bounds) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    if (bounds.low < bounds.high) return;
    throw ConfigError({.place = context.node.name,
                       .expected = "low below high",
                       .found = cat("low=", bounds.low, ", high=", bounds.high),
                       .remedy = ""});
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.backward_reads_output = true, .forward_in_place = true, .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override {
    kernels::clip(call.inputs[0], bounds_, call.output);
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    kernels::clip_gradient(call.output, call.output_gradient, bounds_, call.input_gradients[0]);
  }

 private:
  kernels::ClipBounds bounds_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_relu6(const LayerContext& context) {
  return std::make_unique<Clip>(context, kernels::ClipBounds{.low = 0.0F, .high = 6.0F});
}

std::unique_ptr<Layer> make_hardtanh(const LayerContext& context) {
  return std::make_unique<Clip>(
      context, kernels::ClipBounds{.low = static_cast<float>(context.node.real("low", -1.0)),
                                   .high = static_cast<float>(context.node.real("high", 1.0))});
}

}  // namespace bitloom::layers
