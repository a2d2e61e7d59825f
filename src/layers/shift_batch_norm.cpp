#include "bitloom/kernels/shift_batch_norm.h"

#include "bitloom/core/error.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class ShiftBatchNorm final : public Layer {
 public:
  explicit ShiftBatchNorm(const LayerContext& context)
      : epsilon_(static_cast<float>(context.node.real("epsilon", 1e-5))),
        momentum_(static_cast<float>(context.node.real("momentum", 0.1))) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    channel_ = Shape{edge_.shape.c()};
    rows_ = edge_.shape.elements() / channel_[0];
    if (context.training && rows_ < 2) {
      throw ShapeError({.place = context.node.name,
                        .expected = "more than one value per channel to train",
                        .found = to_string(edge_.shape),
                        .remedy = "use a larger batch"});
    }
    if (!(epsilon_ > 0.0F && momentum_ >= 0.0F && momentum_ <= 1.0F)) {
      throw ConfigError({.place = context.node.name,
                         .expected = "epsilon above 0, momentum from 0 to 1",
                         .found = cat("epsilon=", epsilon_, ", momentum=", momentum_),
                         .remedy = ""});
    }
    const auto declare = [&](const char* word, Role role, float value) {
      return &context.parameters.declare(context.node.name + word, channel_, role,
                                         {.constant = value});
    };
    gamma_ = declare(".gamma", Role::kNormScale, 1.0F);
    beta_ = declare(".beta", Role::kNormShift, 0.0F);
    running_mean_ = declare(".running_mean", Role::kStatistic, 0.0F);
    running_variance_ = declare(".running_var", Role::kStatistic, 1.0F);
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.saved_bytes = 2 * vector_bytes(),
            .scratch_bytes = 2 * vector_bytes(),
            .backward_reads_input = {true},
            .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override {
    TensorView mean = running_mean_->value.view();
    TensorView variance = running_variance_->value.view();
    if (call.phase == Phase::kTrain) {
      mean = saved_mean(call.saved);
      variance = saved_variance(call.saved);
      kernels::shift_norm_statistics(call.inputs[0], mean, variance);
      move_running_statistics(mean, variance);
    }
    kernels::shift_norm(call.inputs[0], channels(mean, variance, call.scratch),
                        beta_->value.data<float>(), call.output);
  }

  void backward(const BackwardCall& call) override {
    kernels::shift_norm_gradient(
        call.inputs[0], channels(saved_mean(call.saved), saved_variance(call.saved), call.scratch),
        call.output_gradient, gamma_->gradient.data<float>(), beta_->gradient.data<float>(),
        call.input_gradients[0]);
  }

 private:
  // A multiple of the alignment, so that the second vector is aligned too.
  std::size_t vector_bytes() const {
    const auto bytes = static_cast<std::size_t>(channel_[0]) * sizeof(float);
    return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
  }
  TensorView saved_mean(std::byte* saved) const { return {DType::kF32, channel_, saved}; }
  TensorView saved_variance(std::byte* saved) const {
    return {DType::kF32, channel_, saved + vector_bytes()};
  }

  kernels::ShiftNormChannels channels(ConstTensorView mean, ConstTensorView variance,
                                      std::byte* scratch) const {
    auto* inverse = reinterpret_cast<float*>(scratch);
    auto* factor = reinterpret_cast<float*>(scratch + vector_bytes());
    kernels::shift_norm_factors(variance.data<float>(), gamma_->value.data<float>(), channel_[0],
                                epsilon_, inverse, factor);
    return {.mean = mean.data<float>(), .inverse = inverse, .factor = factor};
  }

  void move_running_statistics(ConstTensorView mean, ConstTensorView variance) {
    const auto count = static_cast<float>(rows_);
    const float unbias = count / (count - 1.0F);
    float* mean_old = running_mean_->value.data<float>();
    float* variance_old = running_variance_->value.data<float>();
    for (std::int64_t c = 0; c < channel_[0]; ++c) {
      mean_old[c] += momentum_ * (mean.data<float>()[c] - mean_old[c]);
      variance_old[c] += momentum_ * (variance.data<float>()[c] * unbias - variance_old[c]);
    }
  }

  float epsilon_;
  float momentum_;
  Shape channel_;
  std::int64_t rows_ = 0;
  Parameter* gamma_;
  Parameter* beta_;
  Parameter* running_mean_;
  Parameter* running_variance_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_shift_batch_norm(const LayerContext& context) {
  return std::make_unique<ShiftBatchNorm>(context);
}

}  // namespace bitloom::layers
