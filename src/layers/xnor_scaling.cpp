#include "bitloom/core/error.h"
#include "bitloom/kernels/channel_layers.h"
#include "bitloom/kernels/f32_conv2d.h"
#include "float_layers.h"

namespace bitloom::layers {
namespace {

class KMap final : public Layer {
 public:
  explicit KMap(const LayerContext& context)
      : source_(context.inputs[0].shape), window_(box_window(context.node)) {
    require_reals(context);
    if (source_.rank() != 4) {
      window_ = {};
      edge_.shape = Shape{source_[0], 1};
      image_ = Shape{source_[0], 1, 1, 1};
      map_ = image_;
      return;
    }
    image_ = Shape{source_.n(), 1, source_.h(), source_.w()};
    map_ = kernels::conv2d_output(context.node.name,
                                  {.source = image_,
                                   .weight = Shape{1, 1, window_.kernel_h, window_.kernel_w},
                                   .window = window_});
    edge_.shape = map_;
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override {
    return {.scratch_bytes = static_cast<std::size_t>(image_.elements()) * sizeof(float),
            .backward_reads_input = {true}};
  }

  void forward(const ForwardCall& call) override {
    const TensorView mean(DType::kF32, image_, call.scratch);
    kernels::channel_mean_magnitude(call.inputs[0], source_.c(), mean.data<float>());
    kernels::box_filter(mean, window_, call.output.reshaped(map_));
  }

  void backward(const BackwardCall& call) override {
    if (call.input_gradients[0].empty()) return;
    const TensorView mean(DType::kF32, image_, call.scratch);
    kernels::box_filter_gradient(call.output_gradient.reshaped(map_), window_, mean);
    kernels::channel_mean_magnitude_gradient(call.inputs[0], source_.c(), mean.data<float>(),
                                             call.input_gradients[0]);
  }

 private:
  Shape source_;
  integer::Window window_;
  Shape image_;  // of the means, [N, 1, H, W]
  Shape map_;
  Edge edge_;
};

class ScaleMap final : public Layer {
 public:
  explicit ScaleMap(const LayerContext& context) {
    require_reals(context);
    edge_.shape = context.inputs[0].shape;
    const Shape& y = edge_.shape;
    const Shape expected = y.rank() == 4 ? Shape{y.n(), 1, y.h(), y.w()} : Shape{y[0], 1};
    if (context.inputs[1].shape == expected) return;
    throw ShapeError(
        {.place = context.node.name,
         .expected = cat("a map ", to_string(expected)),
         .found = cat(to_string(context.inputs[1].shape), " of ", context.node.inputs[1]),
         .remedy = "give k_map the kernel, stride and pad of the convolution"});
  }

  const Edge& output() const override { return edge_; }

  LayerMemory memory() const override { return {.backward_reads_input = {true, true}}; }

  void forward(const ForwardCall& call) override {
    kernels::scale_rows(call.inputs[0], call.inputs[1], call.output);
  }

  void backward(const BackwardCall& call) override {
    if (!call.input_gradients[1].empty()) {
      kernels::scale_rows_gradient(call.inputs[0], call.output_gradient, call.input_gradients[1]);
    }
    if (!call.input_gradients[0].empty()) {
      kernels::scale_rows(call.output_gradient, call.inputs[1], call.input_gradients[0]);
    }
  }

 private:
  Edge edge_;
};

}  // namespace

std::unique_ptr<Layer> make_k_map(const LayerContext& context) {
  return std::make_unique<KMap>(context);
}

std::unique_ptr<Layer> make_scale_map(const LayerContext& context) {
  return std::make_unique<ScaleMap>(context);
}

}  // namespace bitloom::layers
