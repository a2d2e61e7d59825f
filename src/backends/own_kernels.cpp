// Layers on kernels of our own where those are the faster exact ones: depthwise and 1x1
// convolutions, averages of codes.
#include "bitloom/core/error.h"
#include "bitloom/kernels/depthwise_product.h"
#include "bitloom/kernels/pool_codes.h"
#include "bitloom/kernels/vnni_product.h"
#include "int8_problem.h"
#include "onednn.h"

namespace bitloom::backends {
namespace {

class DepthwiseRunner final : public LayerRunner {
 public:
  DepthwiseRunner(const LayerContext& context, const kernels::Int8Problem& problem)
      : product_(problem) {
    product_.set_weights(context.layer.weight);
    product_.set_scales(context.layer.multiplier, context.layer.bias);
    product_.set_source_zero_point(context.input(0).format.zero_point);
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    product_.run(inputs[0], output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }

 private:
  kernels::DepthwiseProduct product_;
};

class VnniRunner final : public LayerRunner {
 public:
  VnniRunner(const LayerContext& context, const kernels::Int8Problem& problem) : product_(problem) {
    product_.set_weights(context.layer.weight);
    product_.set_scales(context.layer.multiplier, context.layer.bias);
    product_.set_source_zero_point(context.input(0).format.zero_point);
    if (problem.residual) {
      product_.set_residual(context.layer.residual_ratio, context.input(1).format.zero_point);
    }
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    product_.run(inputs[0], residual_of(inputs), output);
  }
  std::string implementation() const override { return product_.implementation(); }
  std::size_t memory_bytes() const override { return product_.memory_bytes(); }
  bool reads_plain_weights() const override { return false; }
  bool can_write_apart() const override { return true; }
  void write_apart(std::int64_t pitch) override { product_.set_pitch(pitch); }

 private:
  kernels::VnniProduct product_;
};

class AverageRunner final : public LayerRunner {
 public:
  explicit AverageRunner(const LayerContext& context)
      : op_(context.layer.op), zero_point_(context.input(0).format.zero_point) {
    const Shape& source = context.input(0).shape;
    const bool global = op_ == integer::LayerOp::kGlobalAvgPool;
    window_ = global ? integer::Window{.kernel_h = source.h(), .kernel_w = source.w()}
                     : context.layer.window;
    const Shape& output = context.output().shape;
    output_ = {context.batch, source.c(), global ? 1 : output.h(), global ? 1 : output.w()};
  }
  void run(std::span<const ConstTensorView> inputs, TensorView output,
           std::span<std::byte>) override {
    kernels::avg_pool_codes(inputs[0], window_, {output.dtype(), output_, output.raw()},
                            zero_point_);
  }
  std::string implementation() const override { return cat("bitloom:", integer::to_word(op_)); }

 private:
  integer::LayerOp op_;
  integer::Window window_;
  Shape output_;  ///< [N, C, H, W] of a global average too
  std::int32_t zero_point_;
};

bool is_depthwise(const integer::Layer& layer) {
  return layer.op == integer::LayerOp::kConv2d && layer.window.groups > 1 &&
         layer.weight.shape().c() == 1 &&
         (layer.mode == integer::ComputeMode::kStatic ||
          layer.mode == integer::ComputeMode::kDynamic);
}

/// What our VNNI kernel may take.
bool is_static_convolution(const integer::Layer& layer) {
  return layer.op == integer::LayerOp::kConv2d && layer.mode == integer::ComputeMode::kStatic &&
         layer.weight_grid == integer::Grid::kAffine && layer.window.groups == 1;
}

/// Where it is faster than oneDNN's: at windows of one pixel, without AMX.
bool is_fast_on_vnni(const LayerContext& context) {
  const integer::Window& window = context.layer.window;
  return is_static_convolution(context.layer) && window.kernel_h == 1 && window.kernel_w == 1 &&
         context.isa == Isa::kAvx512Vnni;
}

PlanResult plan_vnni(const LayerContext& context) {
  if (needs_sums(context)) return Declined{"gives codes, not the sums that this output needs"};
  try {
    return std::make_unique<VnniRunner>(context, int8_problem(context));
  } catch (const BackendError& error) {
    return Declined{error.what()};
  }
}

bool is_average_of_codes(const LayerContext& context) {
  const bool average = context.layer.op == integer::LayerOp::kAvgPool ||
                       context.layer.op == integer::LayerOp::kGlobalAvgPool;
  const DType dtype = context.input(0).dtype;
  return average && (dtype == DType::kU8 || dtype == DType::kS8);
}

}  // namespace

PlanResult plan_own(const LayerContext& context) {
  if (is_average_of_codes(context)) return std::make_unique<AverageRunner>(context);
  if (is_fast_on_vnni(context)) return plan_vnni(context);
  if (!is_depthwise(context.layer)) return Declined{};
  try {
    if (context.layer.mode == integer::ComputeMode::kDynamic) {
      return plan_dynamic_depthwise(context);
    }
    if (needs_sums(context)) return Declined{"gives codes, not the sums that this output needs"};
    return std::make_unique<DepthwiseRunner>(context, int8_problem(context));
  } catch (const BackendError& error) {
    return Declined{error.what()};
  }
}

PlanResult plan_own_vnni(const LayerContext& context) {
  if (!is_static_convolution(context.layer) || is_fast_on_vnni(context)) return Declined{};
  PlanResult result = plan_vnni(context);
  if (std::holds_alternative<Declined>(result)) return Declined{};  // those before it said why
  return result;
}

}  // namespace bitloom::backends
