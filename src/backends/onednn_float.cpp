// Layers of reals: f32 and bf16 products on oneDNN, max pooling; bf16 averages and sums are our
// own.
#include "bitloom/core/error.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/bf16_inference.h"
#include "bitloom/kernels/float_inference_product.h"
#include "bitloom/kernels/int8_pool.h"
#include "onednn.h"

namespace bitloom::backends {
namespace {

/// Weight-only layers hold their weights as reals here: it saves file size, not time.
Tensor real_weights(const integer::Layer& layer) {
  if (layer.weight.dtype() == DType::kF32) return layer.weight.clone();
  Tensor weight(DType::kF32, layer.weight.shape());
  const std::int64_t outputs = weight.shape().n();
  const std::int64_t row = weight.elements() / outputs;
  for (std::int64_t i = 0; i < weight.elements(); ++i) {
    weight.data<float>()[i] =
        integer::real_weight(layer, i / row, layer.weight.data<std::int8_t>()[i]);
  }
  return weight;
}

class FloatRunner final : public LayerRunner {
 public:
  FloatRunner(const integer::Layer& layer, const kernels::FloatInferenceProblem& problem)
      : product_(problem) {
    product_.set_weights(real_weights(layer), layer.bias);
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    product_.run(inputs[0], residual_of(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }

 private:
  kernels::FloatInferenceProduct product_;
};

class MaxPoolRunner final : public LayerRunner {
 public:
  explicit MaxPoolRunner(kernels::Int8MaxPool pool) : pool_(std::move(pool)) {}
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    pool_.run(inputs[0], output);
  }
  std::string implementation() const override { return pool_.implementation(); }
  std::size_t memory_bytes() const override { return pool_.memory_bytes(); }

 private:
  kernels::Int8MaxPool pool_;
};

/// bf16 averages and sums.
class Bf16LoopRunner final : public LayerRunner {
 public:
  explicit Bf16LoopRunner(const LayerContext& context) : layer_(context.layer) {
    if (layer_.op == integer::LayerOp::kGlobalAvgPool) {
      const Shape& source = context.input(0).shape;
      window_ = {.kernel_h = source.h(), .kernel_w = source.w()};
    } else {
      window_ = layer_.window;
    }
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    if (layer_.op == integer::LayerOp::kAdd) {
      kernels::add_bf16(inputs[0], inputs[1], layer_.clip, output);
    } else {
      kernels::average_bf16(window_, inputs[0], output);
    }
  }
  std::string implementation() const override {
    return cat("bitloom:", integer::to_word(layer_.op), "_bf16");
  }

 private:
  const integer::Layer& layer_;
  integer::Window window_;
};

}  // namespace

PlanResult plan_float_product(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  return std::make_unique<FloatRunner>(
      layer,
      kernels::FloatInferenceProblem{.source = context.input(0).shape.with_batch(context.batch),
                                     .weight = layer.weight.shape(),
                                     .window = layer.window,
                                     .clip = layer.clip,
                                     .residual = layer.inputs.size() == 2,
                                     .source_dtype = context.input(0).dtype,
                                     .destination_dtype = context.output().dtype});
}

PlanResult plan_max_pool(const LayerContext& context) {
  if (!context.layer.lowest.empty()) return plan_own_loop(context);
  return std::make_unique<MaxPoolRunner>(
      kernels::Int8MaxPool(context.input(0).shape.with_batch(context.batch), context.input(0).dtype,
                           context.layer.window));
}

namespace {

PlanResult plan_bf16_layer(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  switch (layer.op) {
    case integer::LayerOp::kConv2d:
    case integer::LayerOp::kLinear:
      if (layer.inputs.size() == 2 && context.input(1).dtype != context.output().dtype) {
        return Declined{"a bf16 residual of the model's f32 output"};
      }
      return plan_float_product(context);
    case integer::LayerOp::kMaxPool:
      if (!layer.lowest.empty() || context.output().dtype != DType::kBf16) break;
      return plan_max_pool(context);
    case integer::LayerOp::kAvgPool:
    case integer::LayerOp::kGlobalAvgPool:
    case integer::LayerOp::kAdd:
      return std::make_unique<Bf16LoopRunner>(context);
    case integer::LayerOp::kConcat:
      if (context.output().dtype != DType::kBf16) break;
      return plan_own_loop(context);  // a copy, of any type
    default:
      break;
  }
  return Declined{cat("no bf16 kernel for such a ", integer::to_word(layer.op))};
}

}  // namespace

PlanResult plan_bf16(const LayerContext& context) {
  if (!has_bf16(context.isa)) return Declined{cat("no bf16 products on ", to_word(context.isa))};
  if (context.input(0).dtype != DType::kBf16 ||
      context.layer.mode == integer::ComputeMode::kDynamic) {
    return Declined{"multiplies codes: bf16 is for models of reals"};
  }
  try {
    return plan_bf16_layer(context);
  } catch (const BackendError& error) {
    return Declined{error.what()};
  }
}

}  // namespace bitloom::backends
