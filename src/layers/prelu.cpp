#include "bitloom/core/error.h"
#include "bitloom/kernels/rectifier.h"
#include "channel_rectifier.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// prelu, and with `shifts` rprelu.
class Rectifier final : public Layer {
 public:
  Rectifier(const LayerContext& context, bool shifts)
      : rectifier_(context, shifts),
        bf16_(context.precision == kernels::Precision::kBf16),
        source_scaled_(context.inputs[0].gradient_factor != nullptr) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    size_ = kernels::channel_rows(edge_.shape.elements() / edge_.shape.c(), edge_.shape.c());
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.scratch_bytes = kernels::channel_scratch_bytes(size_),
            .backward_reads_input = {true},
            .backward_in_place = true,
            .backward_reads_bf16 = bf16_,
            .backward_writes_bf16 = {bf16_ && !source_scaled_},
            .backward_reads_terms = bf16_};
  }

  void forward(const ForwardCall& call) override {
    kernels::rectify(call.inputs[0].data<float>(), size_, rectifier_.channels(),
                     call.output.data<float>());
  }

  void backward(const BackwardCall& call) override {
    kernels::rectify_gradient(call.inputs[0].data<float>(), size_, rectifier_.channels(),
                              kernels::terms_of(call.output_gradient, call.second_gradient),
                              rectifier_.gradients(), kernels::place_of(call.input_gradients[0]),
                              call.scratch);
  }

 private:
  ChannelRectifier rectifier_;
  bool bf16_;           // gradients may be
  bool source_scaled_;  // its gradient in bf16 would take a factor
  kernels::ChannelRows size_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_prelu(const LayerContext& context) {
  return std::make_unique<Rectifier>(context, false);
}

std::unique_ptr<Layer> make_rprelu(const LayerContext& context) {
  return std::make_unique<Rectifier>(context, true);
}

}  // namespace bitloom::layers
