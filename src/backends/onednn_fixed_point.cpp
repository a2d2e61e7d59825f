// Layers of mode fixed-point on oneDNN's int8 kernels. Where no sum exceeds 2^24, f32 holds each of
// them, a factor that is a power of two rounds nothing, and oneDNN's own requantization rounds
// once, half to even: what the shifts do. Beyond that its s32 sums are shifted by
// integer/fixed_point.h.
#include <cmath>

#include "bitloom/integer/fixed_point.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/int8_product.h"
#include "onednn.h"

namespace bitloom::backends {
namespace {

constexpr std::int64_t kExactInFloat = std::int64_t{1} << 24;

ConstTensorView residual_in(std::span<const ConstTensorView> inputs) {
  return inputs.size() == 2 ? inputs[1] : ConstTensorView();
}

float power(int exponent) { return std::ldexp(1.0F, exponent); }

kernels::Int8Problem sums_of(const LayerContext& context) {
  return {.source = context.input(0).shape.with_batch(context.batch),
          .source_dtype = context.input(0).dtype,
          .weight = context.layer.weight.shape(),
          .window = context.layer.window,
          .destination_dtype = DType::kS32,
          .bias = false};
}

kernels::Int8Problem codes_of(const LayerContext& context) {
  kernels::Int8Problem problem = sums_of(context);
  problem.destination_dtype = context.output().dtype;
  problem.bias = true;
  problem.residual = context.layer.inputs.size() == 2;
  if (problem.residual) problem.residual_dtype = context.input(1).dtype;
  if (context.output().dtype != DType::kF32) {
    const integer::CodeRange range = context.layer.clip_codes;
    problem.clip = {.low = static_cast<float>(range.qmin), .high = static_cast<float>(range.qmax)};
  }
  return problem;
}

// All of it in oneDNN.
class ExactFloatRunner final : public LayerRunner {
 public:
  explicit ExactFloatRunner(const LayerContext& context) : product_(codes_of(context)) {
    const integer::Layer& layer = context.layer;
    product_.set_weights(layer.weight);
    const bool logits = context.output().dtype == DType::kF32;
    const float step = logits ? context.input(0).scale * layer.weight_scale.data<float>()[0]
                              : power(layer.source_shift - layer.right_shift);
    const std::int64_t channels = layer.bias_s32.elements();
    Tensor multiplier(DType::kF32, Shape{channels});
    Tensor bias(DType::kF32, Shape{channels});
    for (std::int64_t o = 0; o < channels; ++o) {
      multiplier.data<float>()[o] = step;
      bias.data<float>()[o] = static_cast<float>(layer.bias_s32.data<std::int32_t>()[o]) * step;
    }
    product_.set_scales(multiplier, bias);
    if (layer.inputs.size() == 2) {
      product_.set_residual(power(layer.residual_shift - layer.right_shift), 0);
    }
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> /*scratch*/) override {
    product_.run(inputs[0], residual_in(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }

 private:
  kernels::Int8Product product_;
};

// Sums in oneDNN, shifts of our own.
class ShiftedSumsRunner final : public LayerRunner {
 public:
  explicit ShiftedSumsRunner(const LayerContext& context)
      : model_(context.model), layer_(context.layer), product_(sums_of(context)) {
    product_.set_weights(layer_.weight);
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    const TensorView acc(DType::kS32, product_.destination(), scratch.data());
    product_.run(inputs[0], {}, acc);
    integer::requantize(model_, layer_, acc, residual_in(inputs), output);
  }
  std::string implementation() const override {
    return cat(product_.implementation(), "+bitloom:shifts");
  }
  std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(product_.destination().elements()) * sizeof(std::int32_t);
  }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }

 private:
  const integer::Model& model_;
  const integer::Layer& layer_;
  kernels::Int8Product product_;
};

}  // namespace

PlanResult plan_fixed_point(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  if (!saturation(context.isa, context.input(0).format, layer.weight_range).empty()) {
    return own_loops(context, "bitloom:fixed_point");
  }
  if (integer::worst_sum(context.model, layer) <= kExactInFloat) {
    return std::make_unique<ExactFloatRunner>(context);
  }
  return std::make_unique<ShiftedSumsRunner>(context);
}

}  // namespace bitloom::backends
