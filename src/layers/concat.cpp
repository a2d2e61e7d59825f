#include "bitloom/core/error.h"
#include "bitloom/kernels/channels.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

// Inputs may be reals, or codes of one grid: then one scale, the same memory, stands for all.
class Concat final : public Layer {
 public:
  explicit Concat(const LayerContext& context) {
    const Edge& first = context.inputs[0];
    std::int64_t channels = 0;
    for (std::size_t k = 0; k < context.inputs.size(); ++k) {
      const Edge& input = context.inputs[k];
      if (!fits(first, input)) {
        throw ShapeError(
            {.place = context.node.name,
             .expected = cat("inputs that differ in channels alone, ", context.node.inputs[k],
                             " like ", context.node.inputs[0], " ", described(first)),
             .found = described(input),
             .remedy = ""});
      }
      if (!is_same_grid(first, input)) {
        throw ShapeError({.place = context.node.name,
                          .expected = cat("codes of one grid, ", context.node.inputs[k], " like ",
                                          context.node.inputs[0]),
                          .found = "a grid of its own",
                          .remedy = "let the quantizers share one (share=)"});
      }
      channels_.push_back(input.shape.c());
      channels += input.shape.c();
    }
    const Shape& shape = first.shape;
    edge_ = same_kind(first, shape.rank() == 4 ? Shape{shape.n(), channels, shape.h(), shape.w()}
                                               : Shape{shape.n(), channels});
  }

  const Edge& output() const override { return edge_; }

  void forward(const ForwardCall& call) override {
    kernels::join_channels(call.inputs, call.output);
  }

  void backward(const BackwardCall& call) override {
    kernels::split_channels(call.output_gradient, channels_, call.input_gradients);
  }

 private:
  static bool fits(const Edge& a, const Edge& b) {
    const Shape &x = a.shape, &y = b.shape;
    return x.rank() >= 2 && x.rank() == y.rank() && x.n() == y.n() && x.h() == y.h() &&
           x.w() == y.w() && a.dtype == b.dtype;
  }
  static bool is_same_grid(const Edge& a, const Edge& b) {
    return a.dtype == DType::kF32 || (a.scale == b.scale && a.format == b.format);
  }
  static std::string described(const Edge& edge) {
    return cat(to_word(edge.dtype), " ", to_string(edge.shape));
  }

  std::vector<std::int64_t> channels_;  // of each input
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_concat(const LayerContext& context) {
  return std::make_unique<Concat>(context);
}

}  // namespace bitloom::layers
