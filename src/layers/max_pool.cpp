#include <optional>

#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/pool_codes.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// Codes: saved holds the u8 position of each maximum; reals: oneDNN's workspace.
class MaxPool final : public Layer {
 public:
  explicit MaxPool(const LayerContext& context)
      : window_(pool_window(context.node)),
        bf16_(context.precision == kernels::Precision::kBf16),
        source_scaled_(context.inputs[0].gradient_factor != nullptr) {
    const Edge& source = context.inputs[0];
    edge_ = same_kind(source, kernels::pool_output(context.node.name, source.shape, window_));
    if (source.dtype == DType::kF32) {
      reals_.emplace(kernels::F32PoolProblem{.source = source.shape, .window = window_},
                     context.training);
    } else if (window_.kernel_h * window_.kernel_w > kernels::kMaxPoolWindow) {
      throw ConfigError({.place = context.node.name,
                         .expected = cat("a window of at most ", kernels::kMaxPoolWindow,
                                         " positions over codes"),
                         .found = cat(window_.kernel_h, "x", window_.kernel_w),
                         .remedy = ""});
    }
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    if (reals_) {
      return {.saved_bytes = reals_->workspace_bytes(), .scratch_bytes = reals_->scratch_bytes()};
    }
    return {.saved_bytes = static_cast<std::size_t>(edge_.shape.elements()),
            .backward_reads_bf16 = bf16_,
            .backward_writes_bf16 = {bf16_ && !source_scaled_},
            .backward_reads_terms = bf16_};
  }

  void forward(const ForwardCall& call) override {
    if (reals_) {
      reals_->forward(call.inputs[0], call.output, call.saved, call.scratch);
    } else {
      kernels::max_pool_codes(call.inputs[0], window_, call.output, positions(call.saved));
    }
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    if (reals_) {
      reals_->backward(call.output_gradient, call.saved, call.input_gradients[0], call.scratch);
    } else {
      kernels::max_pool_gradient(call.output_gradient, call.second_gradient, window_,
                                 positions(call.saved), call.input_gradients[0]);
    }
  }

 private:
  static std::uint8_t* positions(std::byte* saved) {
    return reinterpret_cast<std::uint8_t*>(saved);
  }

  integer::Window window_;
  bool bf16_;           // gradients may be
  bool source_scaled_;  // as in WeightedLayer
  std::optional<kernels::F32Pool> reals_;
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_max_pool(const LayerContext& context) {
  return std::make_unique<MaxPool>(context);
}

}  // namespace bitloom::layers
