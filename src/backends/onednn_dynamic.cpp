#include <algorithm>
#include <type_traits>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/integer/dynamic.h"
#include "bitloom/kernels/depthwise_product.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/int8_product.h"
#include "onednn.h"

namespace bitloom::backends {
namespace {

DType codes_dtype(const integer::Layer& layer) {
  return layer.source_format.is_signed ? DType::kS8 : DType::kU8;
}

/// One image has one scale: s_x * m[o] is then the weights' scale, and oneDNN gives y itself, by
/// the same roundings. Images of several scales stop at their sums.
kernels::Int8Problem problem_of(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  const bool real = context.batch == 1;
  return {.source = context.input(0).shape.with_batch(context.batch),
          .source_dtype = codes_dtype(layer),
          .source_zero_point = layer.source_format.zero_point != 0,
          .weight = layer.weight.shape(),
          .window = layer.window,
          .destination_dtype = real ? DType::kF32 : DType::kS32,
          .bias = real,
          .clip = layer.clip,
          .residual = real && layer.inputs.size() == 2,
          .residual_dtype = DType::kF32};
}

/// Tensors of one run, one behind another in the scratch.
struct Pieces {
  std::size_t codes, acc, bytes;  ///< offsets and the whole size
};

Pieces pieces_of(const LayerContext& context) {
  const auto aligned = [](std::int64_t bytes) {
    return (static_cast<std::size_t>(bytes) + Tensor::kAlignment - 1) / Tensor::kAlignment *
           Tensor::kAlignment;
  };
  const std::int64_t batch = context.batch;
  const std::size_t codes = aligned(context.input(0).shape.elements() * batch);
  const std::size_t acc = batch == 1 ? 0 : aligned(context.output().shape.elements() * batch * 4);
  return {.codes = 0, .acc = codes, .bytes = codes + acc};
}

/// Product: kernels::Int8Product or DepthwiseProduct.
template <typename Product>
class DynamicRunner final : public LayerRunner {
 public:
  explicit DynamicRunner(const LayerContext& context)
      : model_(context.model),
        layer_(context.layer),
        pieces_(pieces_of(context)),
        ranges_(static_cast<std::size_t>(context.batch)),
        scales_(ranges_.size()),
        multiplier_(DType::kF32, layer_.multiplier.shape()),
        product_(problem_of(context)) {
    product_.set_weights(layer_.weight);
    if (layer_.source_format.zero_point != 0) {
      product_.set_source_zero_point(layer_.source_format.zero_point);
    }
  }

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    const ConstTensorView source = inputs[0];
    const TensorView codes(codes_dtype(layer_), source.shape(), scratch.data() + pieces_.codes);
    quantize(source, codes);
    if (scales_.size() == 1) {
      set_multiplier(scales_.front());
      multiply(codes, residual_of(inputs), output);
      return;
    }
    const TensorView acc(DType::kS32, output.shape(), scratch.data() + pieces_.acc);
    multiply(codes, {}, acc);
    integer::finish_dynamic(model_, layer_, acc, scales_, residual_of(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t scratch_bytes() const override { return pieces_.bytes; }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }

 private:
  void multiply(ConstTensorView codes, ConstTensorView residual, TensorView output) {
    if constexpr (std::is_same_v<Product, kernels::Int8Product>) {
      product_.run(codes, residual, output);
    } else {
      product_.run(codes, output);
    }
  }

  void quantize(ConstTensorView source, TensorView codes) {
    const std::int64_t images = source.shape().n();
    const std::int64_t size = source.elements() / images;
    kernels::min_max_rows(source.data<float>(), images, size, ranges_.data());
    for (std::size_t n = 0; n < scales_.size(); ++n) {
      scales_[n] = std::max(-ranges_[n].min, ranges_[n].max);  // NaN stays NaN: both ends are
    }
    integer::dynamic_scales(layer_, scales_);
    kernels::quantize(source.data<float>(),
                      {.rows = images,
                       .cols = size,
                       .scale = scales_.data(),
                       .scale_per_row = true,
                       .format = layer_.source_format},
                      codes.raw());
  }

  void set_multiplier(float source_scale) {
    const std::span<const float> m = layer_.multiplier.span<float>();
    std::transform(m.begin(), m.end(), multiplier_.data<float>(),
                   [=](float value) { return source_scale * value; });
    product_.set_scales(multiplier_, layer_.bias);
  }

  const integer::Model& model_;
  const integer::Layer& layer_;
  Pieces pieces_;
  std::vector<kernels::MinMax> ranges_;
  std::vector<float> scales_;
  Tensor multiplier_;  ///< s_x * m[o]
  Product product_;
};

}  // namespace

PlanResult plan_dynamic(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  if (integer::has_two_scales(layer)) return Declined{"two weight scales, of static layers only"};
  const std::string reason = saturation(context.isa, layer.source_format, layer.weight_range);
  if (!reason.empty()) return Declined{reason};
  return std::make_unique<DynamicRunner<kernels::Int8Product>>(context);
}

PlanResult plan_dynamic_depthwise(const LayerContext& context) {
  if (context.batch > 1) return Declined{"several scales, where it takes one image's"};
  if (integer::has_two_scales(context.layer)) return Declined{"two weight scales"};
  return std::make_unique<DynamicRunner<kernels::DepthwiseProduct>>(context);
}

}  // namespace bitloom::backends
