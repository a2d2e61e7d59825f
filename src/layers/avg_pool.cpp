#include <optional>

#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/pool_codes.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// The means of windows, of which the whole image is one.
class AvgPool final : public Layer {
 public:
  AvgPool(const LayerContext& context, const integer::Window& window) : window_(window) {
    const Edge& source = context.inputs[0];
    edge_ = same_kind(source, kernels::pool_output(context.node.name, source.shape, window_));
    if (source.dtype == DType::kF32) {
      reals_.emplace(
          kernels::F32PoolProblem{
              .kind = kernels::PoolKind::kAverage, .source = source.shape, .window = window_},
          context.training);
    }
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    if (!reals_) return {};
    return {.scratch_bytes = reals_->scratch_bytes()};
  }

  void forward(const ForwardCall& call) override {
    if (reals_) {
      reals_->forward(call.inputs[0], call.output, nullptr, call.scratch);
    } else {
      kernels::avg_pool_codes(call.inputs[0], window_, call.output, edge_.format_now().zero_point);
    }
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    if (reals_) {
      reals_->backward(call.output_gradient, nullptr, call.input_gradients[0], call.scratch);
    } else {
      kernels::avg_pool_gradient(call.output_gradient, window_, call.input_gradients[0]);
    }
  }

 private:
  integer::Window window_;
  std::optional<kernels::F32Pool> reals_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_avg_pool(const LayerContext& context) {
  return std::make_unique<AvgPool>(context, pool_window(context.node));
}

std::unique_ptr<Layer> make_global_avg_pool(const LayerContext& context) {
  const Shape& image = context.inputs[0].shape;
  return std::make_unique<AvgPool>(context,
                                   integer::Window{.kernel_h = image.h(), .kernel_w = image.w()});
}

}  // namespace bitloom::layers
