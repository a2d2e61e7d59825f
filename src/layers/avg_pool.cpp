#include <algorithm>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/kernels/average_pool.h"
#include "bitloom/kernels/channels.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/pool_codes.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

Shape with_channels(const Shape& shape, std::int64_t channels) {
  return {shape.n(), channels, shape.h(), shape.w()};
}

std::int64_t repeats(const Node& node) {
  const std::int64_t repeat = node.integer("repeat", 1);
  if (repeat >= 1) return repeat;
  throw ConfigError({.place = node.name,
                     .expected = "repeat of at least 1",
                     .found = std::to_string(repeat),
                     .remedy = ""});
}

// The means of windows, of which the whole image is one; `repeat` times side by side.
class AvgPool final : public Layer {
 public:
  AvgPool(const LayerContext& context, const integer::Window& window)
      : window_(window),
        repeat_(repeats(context.node)),
        once_(kernels::pool_output(context.node.name, context.inputs[0].shape, window_)),
        pool_(context.inputs[0].shape, window_, repeat_),
        bf16_(context.precision == kernels::Precision::kBf16),
        source_scaled_(context.inputs[0].gradient_factor != nullptr) {
    edge_ = same_kind(context.inputs[0], with_channels(once_, repeat_ * once_.c()));
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    const auto pooled = static_cast<std::size_t>(once_.elements());
    return {.scratch_bytes = std::max(pool_.scratch_bytes(), repeats_codes() ? pooled : 0),
            .backward_reads_bf16 = bf16_,
            .backward_writes_bf16 = {bf16_ && !source_scaled_},
            .backward_reads_terms = bf16_};
  }

  void forward(const ForwardCall& call) override {
    if (edge_.dtype == DType::kF32) {
      pool_.forward(call.inputs[0].data<float>(), call.output.data<float>());
      return;
    }
    const TensorView pooled =
        repeats_codes() ? TensorView(edge_.dtype, once_, call.scratch) : call.output;
    kernels::avg_pool_codes(call.inputs[0], window_, pooled, edge_.format_now().zero_point);
    if (!repeats_codes()) return;
    parts_.assign(static_cast<std::size_t>(repeat_), pooled);
    kernels::join_channels(parts_, call.output);
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    pool_.backward(kernels::terms_of(call.output_gradient, call.second_gradient),
                   kernels::place_of(call.input_gradients[0]), call.scratch);
  }

 private:
  bool repeats_codes() const { return edge_.dtype != DType::kF32 && repeat_ > 1; }

  integer::Window window_;
  std::int64_t repeat_;
  Shape once_;  // of the output without repeats
  kernels::AveragePool pool_;
  std::vector<ConstTensorView> parts_;  // what repeated codes are joined of
  bool bf16_;                           // gradients may be
  bool source_scaled_;                  // its gradient in bf16 would take a factor
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
