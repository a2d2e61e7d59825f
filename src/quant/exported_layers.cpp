#include "bitloom/quant/exported_layers.h"

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

using layers::LayerContext;
using layers::Node;
using layers::Role;

// What channel_affines() wants to know of the batch norm that the node names.
Node batch_norm_of(const Node& node) {
  Node out{.name = node.word("batch_norm", ""), .op = "batch_norm", .inputs = {}, .attributes = {}};
  if (node.has("epsilon")) out.set("epsilon", node.word("epsilon", ""));
  return out;
}

const layers::Parameter& scale_of_unit(const LayerContext& context) {
  return context.parameters.at(cat(context.node.word("unit", ""), ".scale"));
}

}  // namespace

ExportedProduct::ExportedProduct(const LayerContext& context)
    : QuantizedProduct(context, true),
      destination_(scale_of_unit(context)),
      destination_zero_point_(static_cast<std::int32_t>(context.node.integer("zero_point", 0))),
      folded_bias_(DType::kF32, multiplier_.shape()),
      sums_(DType::kF32, multiplier_.shape()),
      slopes_(DType::kF32, multiplier_.shape()) {
  const Node batch_norm = batch_norm_of(context.node);
  const bool normalized = !batch_norm.name.empty();
  if (normalized) {
    const auto declare = [&](const char* word, Role role, float value) {
      return &context.parameters.declare(batch_norm.name + word, multiplier_.shape(), role,
                                         {.constant = value});
    };
    gamma_ = declare(".gamma", Role::kNormScale, 1.0F);
    beta_ = declare(".beta", Role::kNormShift, 0.0F);
    declare(".running_mean", Role::kStatistic, 0.0F);
    declare(".running_var", Role::kStatistic, 1.0F);
  }
  affines_ =
      channel_affines(context.node.name, normalized ? &batch_norm : nullptr, context.parameters);
}

void ExportedProduct::forward(const layers::ForwardCall& call) {
  for (std::int64_t o = 0; o < multiplier_.elements(); ++o) {
    const integer::FoldedChannel folded = integer::fold_channel(
        {.source = static_cast<double>(source_.scale[0]),
         .weight = static_cast<double>(weight_.scale[weight_.scale_count > 1 ? o : 0]),
         .destination = static_cast<double>(destination_.value.data<float>()[0]),
         .destination_zero_point = destination_zero_point_},
        affines_.at(o));
    multiplier_.data<float>()[o] = folded.multiplier;
    folded_bias_.data<float>()[o] = folded.bias;
  }
  run(call, folded_bias_);
}

// Scratch: the weights' reals, then what the products need.
layers::LayerMemory ExportedProduct::memory() const {
  layers::LayerMemory memory = QuantizedProduct::memory();
  if (training_product_ != nullptr) memory.scratch_bytes += weight_bytes();
  memory.backward_reads_bf16 = false;  // the factor would have to hold the batch norm's slope
  return memory;
}

std::size_t ExportedProduct::weight_bytes() const {
  const std::size_t bytes = static_cast<std::size_t>(weight_.shape.elements()) * sizeof(float);
  return (bytes + Tensor::kAlignment - 1) / Tensor::kAlignment * Tensor::kAlignment;
}

void ExportedProduct::backward(const layers::BackwardCall& call) {
  for (std::int64_t o = 0; o < slopes_.elements(); ++o) {
    slopes_.data<float>()[o] = static_cast<float>(affines_.at(o).slope);
  }
  kernels::TrainingProduct::Backward product = backward_call(call);
  product.slope = slopes_.data<float>();
  product.bias_gradient = sums_;
  training_product_->backward(product, call.scratch + weight_bytes());
  lap(call.clock, Lap::kBackwardData);
  auto* weight = reinterpret_cast<float*>(call.scratch);
  kernels::dequantize(call.inputs[1].raw(), weight_rows_, weight);
  scale_gradients(weight, call);
  lap(call.clock, Lap::kWeightPreparation);
}

// From D and the sums of dy to the gradients of weight, bias, gamma and beta.
void ExportedProduct::scale_gradients(const float* weight, const layers::BackwardCall& call) {
  const std::int64_t channels = weight_.shape[0];
  const std::int64_t cols = weight_.shape.elements() / channels;
  float* gradient = call.input_gradients[1].data<float>();
  for (std::int64_t o = 0; o < channels; ++o) {
    const double sum = static_cast<double>(sums_.data<float>()[o]);
    const double slope = affines_.at(o).slope;
    if (bias_ != nullptr) bias_->gradient.data<float>()[o] = static_cast<float>(slope * sum);
    if (gamma_ == nullptr) continue;
    double dot = 0.0;
    for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) {
      dot += static_cast<double>(gradient[i]) * static_cast<double>(weight[i]);
      gradient[i] *= static_cast<float>(slope);
    }
    const double bias = affines_.bias == nullptr ? 0.0 : static_cast<double>(affines_.bias[o]);
    const double shift = bias - static_cast<double>(affines_.mean[o]);
    gamma_->gradient.data<float>()[o] =
        static_cast<float>(affines_.inverse_deviation(o) * (dot + shift * sum));
    beta_->gradient.data<float>()[o] = static_cast<float>(sum);
  }
}

ExportedAdd::ExportedAdd(const LayerContext& context)
    : shortcut_(context.inputs[1]), destination_(scale_of_unit(context)) {
  if (context.inputs[0].shape != shortcut_.shape) {
    throw ShapeError(ErrorText{context.node.name, to_string(context.inputs[0].shape),
                               to_string(shortcut_.shape), "both inputs of an add have one shape"});
  }
  edge_.shape = shortcut_.shape;
}

void ExportedAdd::forward(const layers::ForwardCall& call) {
  const float ratio = integer::scale_ratio(shortcut_.scale[0], destination_.value.data<float>()[0]);
  kernels::add_residual(call.inputs[0].data<float>(), call.inputs[1].raw(),
                        {.rows = 1,
                         .cols = edge_.shape.elements(),
                         .scale = &ratio,
                         .scale_per_row = false,
                         .format = shortcut_.format_now()},
                        call.output.data<float>());
}

void ExportedAdd::backward(const layers::BackwardCall& call) {
  for (const TensorView& gradient : call.input_gradients) {
    if (!gradient.empty()) copy(call.output_gradient, gradient);
  }
}

}  // namespace bitloom::quant
