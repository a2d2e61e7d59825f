// Layers on oneDNN: int8 products here, those of reals in onednn_float.cpp, those of mode dynamic
// in onednn_dynamic.cpp; what oneDNN does not round as the reference does (averages, stand-alone
// add), or what is a mere copy (concat), runs the reference's own loop.
#include <algorithm>
#include <limits>

#include "bitloom/core/error.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/int8_product.h"
#include "int8_problem.h"
#include "onednn.h"

namespace bitloom::backends {
namespace {

class Int8Runner final : public LayerRunner {
 public:
  Int8Runner(const LayerContext& context, const kernels::Int8Problem& problem) : product_(problem) {
    const integer::Layer& layer = context.layer;
    product_.set_weights(layer.weight);
    product_.set_scales(layer.multiplier, layer.bias);
    if (problem.source_zero_point) {
      product_.set_source_zero_point(context.input(0).format.zero_point);
    }
    if (problem.residual) {
      product_.set_residual(layer.residual_ratio, context.input(1).format.zero_point);
    }
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    product_.run(inputs[0], residual_of(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }

 private:
  kernels::Int8Product product_;
};

/// oneDNN's accumulators and integer/requantize.h behind them, where oneDNN cannot round as it: to
/// signs, with two scales, with a real residual.
class SumsRunner final : public LayerRunner {
 public:
  explicit SumsRunner(const LayerContext& context)
      : model_(context.model), layer_(context.layer), product_(problem_of(context)) {
    if (integer::has_two_scales(layer_)) {
      Tensor split(DType::kS8, weight_shape(layer_));
      integer::split_codes(layer_.weight, split.data<std::int8_t>());
      product_.set_weights(split);
    } else {
      product_.set_weights(layer_.weight);
    }
    if (context.input(0).format.zero_point != 0) {
      product_.set_source_zero_point(context.input(0).format.zero_point);
    }
  }

  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte> scratch) override {
    const TensorView acc(DType::kS32, product_.destination(), scratch.data());
    product_.run(inputs[0], {}, acc);
    integer::requantize(model_, layer_, acc, residual_of(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t scratch_bytes() const override {
    return static_cast<std::size_t>(product_.destination().elements()) * sizeof(std::int32_t);
  }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }

 private:
  static Shape weight_shape(const integer::Layer& layer) {
    const Shape& shape = layer.weight.shape();
    return integer::has_two_scales(layer) ? shape.with_batch(2 * shape.n()) : shape;
  }
  static kernels::Int8Problem problem_of(const LayerContext& context) {
    return {.source = context.input(0).shape.with_batch(context.batch),
            .source_dtype = context.input(0).dtype,
            .source_zero_point = context.input(0).format.zero_point != 0,
            .weight = weight_shape(context.layer),
            .window = context.layer.window,
            .destination_dtype = DType::kS32,
            .bias = false};
  }

  const integer::Model& model_;
  const integer::Layer& layer_;
  kernels::Int8Product product_;
};

PlanResult plan_int8(const LayerContext& context) {
  const std::string reason =
      saturation(context.isa, context.input(0).format, context.layer.weight_range);
  if (!reason.empty()) return Declined{reason};
  if (needs_sums(context)) return std::make_unique<SumsRunner>(context);
  return std::make_unique<Int8Runner>(context, int8_problem(context));
}

PlanResult plan_product(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  switch (layer.mode) {
    case integer::ComputeMode::kStatic:
      return plan_int8(context);
    case integer::ComputeMode::kDynamic:
      return plan_dynamic(context);
    case integer::ComputeMode::kFixedPoint:
      return plan_fixed_point(context);
    case integer::ComputeMode::kFloat:
    case integer::ComputeMode::kWeightOnly:
      break;
  }
  return plan_float_product(context);
}

PlanResult plan_layer(const LayerContext& context) {
  switch (context.layer.op) {
    case integer::LayerOp::kConv2d:
    case integer::LayerOp::kLinear:
      return plan_product(context);
    case integer::LayerOp::kMaxPool:
      return plan_max_pool(context);
    case integer::LayerOp::kAvgPool:
    case integer::LayerOp::kGlobalAvgPool:
    case integer::LayerOp::kAdd:
    case integer::LayerOp::kConcat:
    case integer::LayerOp::kAffine:
    case integer::LayerOp::kPrelu:
    case integer::LayerOp::kKMap:
    case integer::LayerOp::kScaleMap:
      break;
  }
  return plan_own_loop(context);
}

}  // namespace

std::string saturation(Isa isa, const integer::AffineFormat& source, integer::CodeRange weights) {
  if (has_exact_u8s8(isa)) return "";
  if (source.is_signed) return cat("signed activations lose a weight bit on ", to_word(isa));
  const std::int32_t pair = 2 * source.range.qmax * std::max(-weights.qmin, weights.qmax);
  if (pair <= std::numeric_limits<std::int16_t>::max()) return "";
  return cat("pairs of products reach ", pair, ", beyond the 16 bits of ", to_word(isa));
}

PlanResult plan_own_loop(const LayerContext& context) {
  return own_loops(context, cat("bitloom:", integer::to_word(context.layer.op)));
}

PlanResult plan_onednn_next(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  if (!context.is_product() || layer.mode != integer::ComputeMode::kStatic || needs_sums(context) ||
      !saturation(context.isa, context.input(0).format, layer.weight_range).empty()) {
    return Declined{};
  }
  try {
    kernels::Int8Problem problem = int8_problem(context);
    problem.choice = 1;
    return std::make_unique<Int8Runner>(context, problem);
  } catch (const BackendError&) {
    return Declined{};  // its first one's reason says it all
  }
}

PlanResult plan_onednn(const LayerContext& context) {
  try {
    return plan_layer(context);
  } catch (const BackendError& error) {  // oneDNN's own "unimplemented" is a reason, not an error
    return Declined{error.what()};
  }
}

}  // namespace bitloom::backends
