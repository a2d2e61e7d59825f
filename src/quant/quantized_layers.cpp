#include "bitloom/quant/quantized_layers.h"

#include <algorithm>

#include "activation_grid.h"
#include "bitloom/core/cpu.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/exported_layers.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "carried_signs.h"

namespace bitloom::quant {
namespace {

using layers::Edge;
using layers::LayerContext;

kernels::RowsFormat rows_of(const Edge& edge) {
  return {.rows = edge.scale_count,
          .cols = edge.shape.elements() / edge.scale_count,
          .scale = edge.scale,
          .scale_per_row = edge.scale_count > 1,
          .format = edge.format_now()};
}

bool is_linear(const LayerContext& context) { return context.node.op.ends_with("_linear"); }

bool has_bias(const LayerContext& context) { return context.node.integer("bias", 0) != 0; }

integer::Window window_of(const LayerContext& context) {
  const Shape& weight = context.inputs[1].shape;
  if (is_linear(context)) return {};
  integer::Window window = layers::conv_window(context.node);
  window.kernel_h = weight.h();
  window.kernel_w = weight.w();
  return window;
}

// linear takes [N, C, 1, 1] as [N, C]: the memory is the same.
Shape source_shape(const LayerContext& context) {
  const Shape& shape = context.inputs[0].shape;
  return is_linear(context) ? Shape{shape[0], shape.elements() / shape[0]} : shape;
}

// Whether bf16, of 8 significant bits, holds every sum of codes -1, 0 and 1. Sums of an even number
// of signs are even; padding takes away all inputs of a tap.
bool bf16_holds_sums(const LayerContext& context) {
  const Shape& weight = context.inputs[1].shape;
  const auto binary = [&](std::size_t k) {
    return context.inputs[k].format.grid == integer::Grid::kBinary;
  };
  const auto few = [&](std::size_t k) {
    return context.inputs[k].format.grid != integer::Grid::kAffine;
  };
  const std::int64_t products = weight.elements() / weight[0];
  const bool even = binary(0) && binary(1) && weight[1] % 2 == 0;
  return few(0) && few(1) && products <= (even ? 512 : 256);
}

// Without AVX-512 oneDNN writes bf16 by its plain reference alone.
bool leaves_sums(const LayerContext& context, bool adds, bool by_popcount) {
  return context.node.integer("sums", 0) != 0 && !adds && bf16_holds_sums(context) &&
         (by_popcount || effective_isa() >= Isa::kAvx512);
}

kernels::Int8Problem int8_problem(const LayerContext& context, bool adds,
                                  DType destination = DType::kF32) {
  for (const Edge& edge : context.inputs) {
    if (edge.dtype != DType::kU8 && edge.dtype != DType::kS8) {
      throw ShapeError(ErrorText{context.node.name, "codes from fake_quant on both inputs", "reals",
                                 "use conv2d or linear, or let the pass choose"});
    }
  }
  return {.source = source_shape(context),
          .source_dtype = context.inputs[0].dtype,
          .source_zero_point =
              context.inputs[0].format.zero_point != 0 || context.inputs[0].zero_point != nullptr,
          .weight = context.inputs[1].shape,
          .window = window_of(context),
          .destination_dtype = destination,
          .bias = adds};
}

// Popcount kernels give the same bits as the int8 ones (exact sums, the same steps behind them);
// nullptr where the codes are of other grids, or int8 is faster.
std::unique_ptr<kernels::PopcountProduct> popcount_of(const LayerContext& context,
                                                      const kernels::Int8Problem& int8) {
  const integer::Grid source = context.inputs[0].format.grid;
  const integer::Grid weight = context.inputs[1].format.grid;
  if (source == integer::Grid::kAffine || weight == integer::Grid::kAffine) return nullptr;
  const kernels::PopcountProblem problem{.source = int8.source,
                                         .source_grid = source,
                                         .weight = int8.weight,
                                         .weight_grid = weight,
                                         .window = int8.window};
  if (!kernels::popcount_beats_int8(problem)) return nullptr;
  return std::make_unique<kernels::PopcountProduct>(problem);
}

kernels::F32Directions backward_only(const LayerContext& context) {
  return {.forward = false,
          .backward_data = context.inputs[0].needs_gradient,
          .backward_weights = context.inputs[1].needs_gradient};
}

}  // namespace

QuantizedProduct::QuantizedProduct(const LayerContext& context)
    : QuantizedProduct(context, has_bias(context)) {}

QuantizedProduct::QuantizedProduct(const LayerContext& context, bool adds)
    : source_(context.inputs[0]),
      weight_(context.inputs[1]),
      source_rows_(rows_of(source_)),
      weight_rows_(rows_of(weight_)),
      multiplier_(DType::kF32, Shape{weight_.shape[0]}),
      gradient_factor_(DType::kF32, Shape{weight_.shape[0]}),
      popcount_(popcount_of(context, int8_problem(context, adds))),
      leaves_sums_(leaves_sums(context, adds, popcount_ != nullptr)),
      product_(int8_problem(context, adds,
                            leaves_sums_ && popcount_ == nullptr ? DType::kBf16 : DType::kF32)) {
  const kernels::Int8Problem problem = int8_problem(context, adds);
  source_.shape = problem.source;
  edge_.shape = product_.destination();
  edge_.gradient_factor = gradient_factor_.data<float>();
  if (leaves_sums_) {
    edge_.dtype = DType::kBf16;
    edge_.scale = multiplier_.data<float>();
    edge_.scale_count = multiplier_.elements();
  }
  if (popcount_ != nullptr) no_bias_ = Tensor(DType::kF32, Shape{weight_.shape[0]});
  if (problem.source_zero_point) product_.set_source_zero_point(source_.format.zero_point);
  if (has_bias(context)) {
    bias_ = &context.parameters.declare(cat(context.node.name, ".bias"), Shape{weight_.shape[0]},
                                        layers::Role::kBias, {});
  }
  if (!context.training) return;
  training_product_ = std::make_unique<kernels::TrainingProduct>(
      kernels::TrainingProblem{.source = problem.source,
                               .source_dtype = problem.source_dtype,
                               .weight = problem.weight,
                               .weight_dtype = weight_.dtype,
                               .window = problem.window,
                               .bias = problem.bias,
                               .precision = context.precision},
      backward_only(context));
}

layers::LayerMemory QuantizedProduct::memory() const {
  const std::size_t forward = popcount_ == nullptr ? 0 : popcount_->scratch_bytes();
  const std::size_t backward =
      training_product_ == nullptr ? 0 : training_product_->scratch_bytes();
  layers::LayerMemory memory{.scratch_bytes = std::max(forward, backward),
                             .backward_reads_input = {true, true}};
  if (training_product_ == nullptr) return memory;
  memory.backward_adds = training_product_->adds_source_gradient();
  memory.backward_reads_bf16 = training_product_->reads_bf16_gradient();
  memory.backward_writes_bf16 = {training_product_->writes_bf16_gradient(), false};
  return memory;
}

void QuantizedProduct::forward(const layers::ForwardCall& call) {
  float* multiplier = multiplier_.data<float>();
  for (std::int64_t o = 0; o < multiplier_.elements(); ++o) {
    const float weight_scale = weight_.scale[weight_.scale_count > 1 ? o : 0];
    multiplier[o] = static_cast<float>(static_cast<double>(source_.scale[0]) *
                                       static_cast<double>(weight_scale));
    gradient_factor_.data<float>()[o] = weight_scale;
  }
  run(call, bias_ == nullptr ? ConstTensorView() : bias_->value.view());
}

void QuantizedProduct::run(const layers::ForwardCall& call, ConstTensorView added) {
  // A learned zero point moves; what the backward pass dequantizes with is this step's.
  if (source_.zero_point != nullptr) {
    source_rows_.format = source_.format_now();
    product_.set_source_zero_point(source_rows_.format.zero_point);
  }
  if (popcount_ != nullptr) {
    popcount_->set_weights(call.inputs[1]);
    popcount_->set_scales(multiplier_, added.empty() ? no_bias_.view() : added);
    lap(call.clock, Lap::kWeightPreparation);
    const kernels::PopcountSource source{.codes = call.inputs[0].data<std::int8_t>()};
    const std::span<std::byte> scratch(call.scratch, popcount_->scratch_bytes());
    if (leaves_sums_) {
      popcount_->run_sums(source, call.output.data<Bf16>(), scratch);
    } else {
      popcount_->run_reals(source, {.out = call.output.data<float>()}, scratch);
    }
    return;
  }
  product_.set_weights(call.inputs[1]);
  product_.set_scales(multiplier_, added);
  lap(call.clock, Lap::kWeightPreparation);
  product_.run(call.inputs[0].reshaped(source_.shape), {}, call.output);
}

kernels::TrainingProduct::Backward QuantizedProduct::backward_call(
    const layers::BackwardCall& call) const {
  return {.source = call.inputs[0].reshaped(source_.shape),
          .source_rows = source_rows_,
          .weight = call.inputs[1],
          .weight_rows = weight_rows_,
          .gradient = call.output_gradient,
          .gradient_factor = call.output_gradient.dtype() == DType::kBf16
                                 ? gradient_factor_.data<float>()
                                 : nullptr,
          .weight_gradient = call.input_gradients[1],
          .source_gradient = call.input_gradients[0],
          .adds = call.adds,
          .clock = call.clock};
}

void QuantizedProduct::backward(const layers::BackwardCall& call) {
  kernels::TrainingProduct::Backward product = backward_call(call);
  if (bias_ != nullptr) product.bias_gradient = bias_->gradient;
  training_product_->backward(product, call.scratch);
}

QuantizedAdd::QuantizedAdd(const LayerContext& context)
    : shortcut_(context.inputs[1]), shortcut_rows_(rows_of(context.inputs[1])) {
  const Edge& branch = context.inputs[0];
  const Edge& shortcut = context.inputs[1];
  if (branch.dtype != DType::kF32 || shortcut.dtype == DType::kF32) {
    throw ShapeError(ErrorText{context.node.name, "a branch of reals and a shortcut of codes",
                               "another mix", "use add, or let the pass choose"});
  }
  if (branch.shape != shortcut.shape) {
    throw ShapeError(ErrorText{context.node.name, to_string(branch.shape),
                               to_string(shortcut.shape), "both inputs of an add have one shape"});
  }
  edge_.shape = branch.shape;
}

void QuantizedAdd::forward(const layers::ForwardCall& call) {
  shortcut_rows_.format = shortcut_.format_now();
  kernels::add_dequantized(call.inputs[0].data<float>(), call.inputs[1].raw(), shortcut_rows_,
                           call.output.data<float>());
}

void QuantizedAdd::backward(const layers::BackwardCall& call) {
  for (const TensorView& gradient : call.input_gradients) {
    if (!gradient.empty()) copy(call.output_gradient, gradient);
  }
}

layers::LayerRegistry quantized_layers() {
  layers::LayerRegistry registry = layers::float_layers();
  registry["fake_quant"] = {
      .make = [](const LayerContext& context) { return std::make_unique<FakeQuantLayer>(context); },
      .inputs = 1,
      .attributes = {"quantizer",   "bits",       "dtype",  "qmin",   "qmax",
                     "zero_point",  "axis",       "weight", "decay",  "share",
                     "joined",      "asymmetric", "output", "frozen", "power_of_two",
                     "alpha_decay", "input",      "grid",   "bound",  "lr_scaling",
                     "replaces"}};
  const layers::LayerFactory make_product = [](const LayerContext& context) {
    return std::make_unique<QuantizedProduct>(context);
  };
  registry["quantized_conv2d"] = {
      .make = make_product,
      .inputs = 2,
      .attributes = {"stride", "pad", "pad_w", "groups", "bias", "sums"}};
  registry["quantized_linear"] = {
      .make = make_product, .inputs = 2, .attributes = {"bias", "sums"}};
  const layers::LayerFactory make_exported = [](const LayerContext& context) {
    return std::make_unique<ExportedProduct>(context);
  };
  registry["exported_conv2d"] = {.make = make_exported,
                                 .inputs = 2,
                                 .attributes = {"stride", "pad", "pad_w", "groups", "bias", "unit",
                                                "zero_point", "batch_norm", "epsilon"}};
  registry["exported_linear"] = {
      .make = make_exported,
      .inputs = 2,
      .attributes = {"bias", "unit", "zero_point", "batch_norm", "epsilon"}};
  registry["exported_add"] = {
      .make = [](const LayerContext& context) { return std::make_unique<ExportedAdd>(context); },
      .inputs = 2,
      .attributes = {"unit"}};
  registry["quantized_add"] = {
      .make = [](const LayerContext& context) { return std::make_unique<QuantizedAdd>(context); },
      .inputs = 2,
      .attributes = {}};
  add_fused_layers(registry);
  add_carried_signs(registry);
  return registry;
}

}  // namespace bitloom::quant
