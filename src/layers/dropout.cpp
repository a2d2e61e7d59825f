#include "bitloom/kernels/dropout.h"

#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// The mask of a step is a function of (seed, node, step), and the step is stored with the
// parameters: a resumed run drops what the uninterrupted one would have dropped.
class Dropout final : public Layer {
 public:
  explicit Dropout(const LayerContext& context)
      : source_(context.inputs[0]),
        edge_(source_),
        mask_{.random = RandomStream(context.parameters.seed(), "dropout/" + context.node.name),
              .ratio = static_cast<float>(context.node.real("ratio", 0.5))},
        step_(context.parameters.declare(context.node.name + ".step", Shape{1},
                                         Role::kQuantizerState, {})) {
    if (!(mask_.ratio >= 0.0F && mask_.ratio < 1.0F)) {
      throw ConfigError({.place = cat(context.node.name, ": attribute ratio"),
                         .expected = "a number from 0 to below 1",
                         .found = context.node.word("ratio", ""),
                         .remedy = ""});
    }
    if (carries_codes()) {
      scale_ = *source_.scale;
      edge_.scale = &scale_;
    }
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.forward_in_place = true, .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override {
    const bool drops = call.phase == Phase::kTrain;
    if (carries_codes()) {
      scale_ = *source_.scale * (drops ? kernels::dropout_factor(mask_.ratio) : 1.0F);
    }
    if (!drops) {
      pass_on(call.inputs[0], call.output);
      return;
    }
    float& step = *step_.value.data<float>();  // whole numbers, exact up to 2^24 steps
    mask_.step = static_cast<std::uint64_t>(step);
    step += 1.0F;
    if (carries_codes()) {
      kernels::drop_codes(call.inputs[0], mask_, source_.format_now().zero_point, call.output);
    } else {
      kernels::drop_reals(call.inputs[0], mask_, call.output);
    }
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    kernels::drop_reals(call.output_gradient, mask_, call.input_gradients[0]);
  }

 private:
  bool carries_codes() const { return source_.dtype != DType::kF32; }

  static void pass_on(ConstTensorView from, TensorView to) {
    if (from.raw() == to.raw()) return;
    if (from.dtype() == DType::kF32) {
      kernels::copy_f32(from, to);
    } else {
      std::memcpy(to.raw(), from.raw(), from.bytes());
    }
  }

  Edge source_;
  Edge edge_;
  kernels::DropoutMask mask_;  // its step is that of the last forward
  Parameter& step_;
  float scale_ = 1.0F;  // codes only
};

}  // namespace

std::unique_ptr<Layer> make_dropout(const LayerContext& context) {
  return std::make_unique<Dropout>(context);
}

}  // namespace bitloom::layers
