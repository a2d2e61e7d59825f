#include "bitloom/core/error.h"
#include "bitloom/kernels/rectifier.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

constexpr float kFirstSlope = 0.25F;  // He et al., arXiv:1502.01852, section 2.1

// prelu, and with `shifts` rprelu.
class Rectifier final : public Layer {
 public:
  Rectifier(const LayerContext& context, bool shifts)
      : bf16_(context.precision == kernels::Precision::kBf16),
        source_scaled_(context.inputs[0].gradient_factor != nullptr) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    size_ = kernels::channel_rows(edge_.shape.elements() / edge_.shape.c(), edge_.shape.c());
    const auto declare = [&](const char* word, Role role, float value) {
      return &context.parameters.declare(context.node.name + word, Shape{edge_.shape.c()}, role,
                                         {.constant = value});
    };
    slope_ = declare(".slope", Role::kNormScale, kFirstSlope);
    if (!shifts) return;
    threshold_ = declare(".threshold", Role::kNormShift, 0.0F);
    offset_ = declare(".offset", Role::kNormShift, 0.0F);
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
    kernels::rectify(call.inputs[0].data<float>(), size_, channels(), call.output.data<float>());
  }

  void backward(const BackwardCall& call) override {
    kernels::RectifierGradients gradients{.slope = slope_->gradient.data<float>()};
    if (threshold_ != nullptr) {
      gradients.threshold = threshold_->gradient.data<float>();
      gradients.offset = offset_->gradient.data<float>();
    }
    kernels::rectify_gradient(call.inputs[0].data<float>(), size_, channels(),
                              kernels::terms_of(call.output_gradient, call.second_gradient),
                              gradients, kernels::place_of(call.input_gradients[0]), call.scratch);
  }

 private:
  kernels::RectifierChannels channels() const {
    const auto values = [](const Parameter* of) {
      return of == nullptr ? nullptr : of->value.data<float>();
    };
    return {.slope = values(slope_), .threshold = values(threshold_), .offset = values(offset_)};
  }

  Parameter* slope_ = nullptr;
  Parameter* threshold_ = nullptr;  // rprelu only
  Parameter* offset_ = nullptr;
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
