#include <optional>

#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/pool_codes.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class GlobalAvgPool final : public Layer {
 public:
  explicit GlobalAvgPool(const LayerContext& context) {
    const Edge& source = context.inputs[0];
    const integer::Window whole{.kernel_h = source.shape.h(), .kernel_w = source.shape.w()};
    edge_ = same_kind(source, kernels::pool_output(context.node.name, source.shape, whole));
    if (source.dtype == DType::kF32) {
      reals_.emplace(
          kernels::F32PoolProblem{
              .kind = kernels::PoolKind::kAverage, .source = source.shape, .window = whole},
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
      kernels::global_avg_pool_codes(call.inputs[0], call.output);
    }
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    if (reals_) {
      reals_->backward(call.output_gradient, nullptr, call.input_gradients[0], call.scratch);
    } else {
      kernels::global_avg_pool_gradient(call.output_gradient, call.input_gradients[0]);
    }
  }

 private:
  std::optional<kernels::F32Pool> reals_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_global_avg_pool(const LayerContext& context) {
  return std::make_unique<GlobalAvgPool>(context);
}

}  // namespace bitloom::layers
