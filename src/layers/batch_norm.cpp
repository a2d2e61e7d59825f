#include "bitloom/kernels/f32_batch_norm.h"

#include "bitloom/core/error.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class BatchNorm final : public Layer {
 public:
  explicit BatchNorm(const LayerContext& context)
      : kernel_(problem_of(context), context.training),
        training_(context.training),
        frozen_(flag(context.node, "frozen", false)),
        momentum_(static_cast<float>(context.node.real("momentum", 0.1))) {
    if (!(momentum_ >= 0.0F && momentum_ <= 1.0F)) {
      throw ConfigError({.place = context.node.name + ": attribute momentum",
                         .expected = "0 to 1",
                         .found = context.node.word("momentum", ""),
                         .remedy = ""});
    }
    edge_.shape = context.inputs[0].shape;
    channel_ = Shape{edge_.shape.c()};
    if (context.training && !context.inputs[0].needs_gradient) {
      unread_bytes_ = aligned(static_cast<std::size_t>(edge_.shape.elements()) * sizeof(float));
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
    return {.saved_bytes = 2 * statistic_bytes(),
            .scratch_bytes = unread_bytes_ + kernel_.scratch_bytes(),
            .backward_reads_input = {true},
            .forward_in_place = !training_,
            .backward_in_place = true};
  }

  void forward(const ForwardCall& call) override {
    if (call.phase == Phase::kEvaluate || frozen_) {
      kernel_.forward_evaluate(call.inputs[0], gamma_->value, beta_->value, running_mean_->value,
                               running_variance_->value, call.output, call.scratch);
      return;
    }
    kernel_.forward_train(call.inputs[0], gamma_->value, beta_->value, mean(call.saved),
                          variance(call.saved), call.output, call.scratch);
    move_running_statistics(call.saved);
  }

  void backward(const BackwardCall& call) override {
    const TensorView dx = unread_bytes_ == 0 ? call.input_gradients[0]
                                             : TensorView{DType::kF32, edge_.shape, call.scratch};
    const ConstTensorView used_mean = frozen_ ? running_mean_->value.view() : mean(call.saved);
    const ConstTensorView used_variance =
        frozen_ ? running_variance_->value.view() : variance(call.saved);
    kernel_.backward(call.inputs[0], gamma_->value, used_mean, used_variance, call.output_gradient,
                     dx, gamma_->gradient, beta_->gradient, call.scratch + unread_bytes_);
  }

 private:
  static kernels::F32BatchNormProblem problem_of(const LayerContext& context) {
    require_reals(context);
    const Shape& shape = context.inputs[0].shape;
    const std::int64_t values = shape.n() * shape.h() * shape.w();
    const bool frozen = flag(context.node, "frozen", false);
    if (context.training && values < 2 && !frozen) {
      throw ShapeError({.place = context.node.name,
                        .expected = "more than one value per channel to train",
                        .found = to_string(shape),
                        .remedy = "use a larger batch"});
    }
    const double epsilon = context.node.real("epsilon", 1e-5);
    if (!(epsilon > 0.0)) {
      throw ConfigError({.place = context.node.name + ": attribute epsilon",
                         .expected = "a number above 0",
                         .found = context.node.word("epsilon", ""),
                         .remedy = ""});
    }
    return {.source = shape, .epsilon = static_cast<float>(epsilon), .frozen = frozen};
  }

  static std::size_t aligned(std::size_t bytes) {
    return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
  }
  // A multiple of the alignment, so that the second vector is aligned too.
  std::size_t statistic_bytes() const {
    return aligned(static_cast<std::size_t>(channel_[0]) * sizeof(float));
  }
  TensorView mean(std::byte* saved) const { return {DType::kF32, channel_, saved}; }
  TensorView variance(std::byte* saved) const {
    return {DType::kF32, channel_, saved + statistic_bytes()};
  }

  void move_running_statistics(std::byte* saved) {
    const auto values = static_cast<float>(edge_.shape.n() * edge_.shape.h() * edge_.shape.w());
    const float unbias = values / (values - 1.0F);
    const float* mean_now = mean(saved).data<float>();
    const float* variance_now = variance(saved).data<float>();
    float* mean_old = running_mean_->value.data<float>();
    float* variance_old = running_variance_->value.data<float>();
    for (std::int64_t c = 0; c < channel_[0]; ++c) {
      mean_old[c] += momentum_ * (mean_now[c] - mean_old[c]);
      variance_old[c] += momentum_ * (variance_now[c] * unbias - variance_old[c]);
    }
  }

  kernels::F32BatchNorm kernel_;
  bool training_;
  bool frozen_;
  float momentum_;
  Shape channel_;
  std::size_t unread_bytes_ = 0;  // oneDNN writes dx even where nobody asks for it
  Parameter* gamma_;
  Parameter* beta_;
  Parameter* running_mean_;
  Parameter* running_variance_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_batch_norm(const LayerContext& context) {
  return std::make_unique<BatchNorm>(context);
}

}  // namespace bitloom::layers
