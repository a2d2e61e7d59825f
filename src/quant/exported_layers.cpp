#include "bitloom/quant/exported_layers.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/batch_norm_passes.h"

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
      store_(context.parameters),
      node_(context.node),
      batch_norm_(batch_norm_of(context.node)),
      destination_(scale_of_unit(context)),
      folded_bias_(DType::kF32, multiplier_.shape()),
      sums_(DType::kF32, multiplier_.shape()) {
  if (batch_norm_.name.empty()) return;
  const auto declare = [&](const char* word, Role role, float value) {
    return &store_.declare(batch_norm_.name + word, multiplier_.shape(), role, {.constant = value});
  };
  gamma_ = declare(".gamma", Role::kNormScale, 1.0F);
  beta_ = declare(".beta", Role::kNormShift, 0.0F);
  declare(".running_mean", Role::kStatistic, 0.0F);
  declare(".running_var", Role::kStatistic, 1.0F);
}

void ExportedProduct::forward(const layers::ForwardCall& call) {
  const std::int64_t channels = multiplier_.elements();
  const std::vector<integer::ChannelAffine> affines =
      channel_affines(node_.name, gamma_ == nullptr ? nullptr : &batch_norm_, store_, channels);
  for (std::int64_t o = 0; o < channels; ++o) {
    const integer::FoldedChannel folded = integer::fold_channel(
        {.source = static_cast<double>(source_.scale[0]),
         .weight = static_cast<double>(weight_.scale[weight_.scale_count > 1 ? o : 0]),
         .destination = static_cast<double>(destination_.value.data<float>()[0]),
         .destination_zero_point = static_cast<std::int32_t>(node_.integer("zero_point", 0))},
        affines[static_cast<std::size_t>(o)]);
    multiplier_.data<float>()[o] = folded.multiplier;
    folded_bias_.data<float>()[o] = folded.bias;
  }
  run(call, folded_bias_);
}

void ExportedProduct::backward(const layers::BackwardCall& call) {
  const Workspace space = workspace(call.scratch);
  const ConstTensorView dy = call.output_gradient;
  kernels::dequantize(call.inputs[0].raw(), source_rows_, space.source.data<float>());
  kernels::dequantize(call.inputs[1].raw(), weight_rows_, space.weight.data<float>());
  std::visit(
      [&](auto& product) {
        product.backward_weights(space.source, dy, call.input_gradients[1], sums_, space.scratch);
      },
      *float_product_);
  scale_gradients(space.weight.data<float>(), call);
  if (call.input_gradients[0].empty()) return;
  const std::int64_t cols = weight_.shape.elements() / weight_.shape[0];
  const std::vector<integer::ChannelAffine> affines = channel_affines(
      node_.name, gamma_ == nullptr ? nullptr : &batch_norm_, store_, weight_.shape[0]);
  for (std::int64_t o = 0; o < weight_.shape[0]; ++o) {
    const auto slope = static_cast<float>(affines[static_cast<std::size_t>(o)].slope);
    float* row = space.weight.data<float>() + o * cols;
    std::for_each(row, row + cols, [slope](float& value) { value *= slope; });
  }
  std::visit(
      [&](auto& product) {
        product.backward_data(dy, space.weight, call.input_gradients[0].reshaped(source_.shape),
                              space.scratch);
      },
      *float_product_);
}

// From D and the sums of dy to the gradients of weight, bias, gamma and beta.
void ExportedProduct::scale_gradients(const float* weight, const layers::BackwardCall& call) {
  const std::int64_t channels = weight_.shape[0];
  const std::int64_t cols = weight_.shape.elements() / channels;
  float* gradient = call.input_gradients[1].data<float>();
  const double epsilon = batch_norm_.real("epsilon", 1e-5);
  const float* mean = gamma_ == nullptr
                          ? nullptr
                          : store_.at(batch_norm_.name + ".running_mean").value.data<float>();
  const float* variance = gamma_ == nullptr
                              ? nullptr
                              : store_.at(batch_norm_.name + ".running_var").value.data<float>();
  for (std::int64_t o = 0; o < channels; ++o) {
    const double sum = static_cast<double>(sums_.data<float>()[o]);
    double slope = 1.0;
    if (gamma_ != nullptr) {
      double dot = 0.0;
      for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) {
        dot += static_cast<double>(gradient[i]) * static_cast<double>(weight[i]);
      }
      const double r = 1.0 / std::sqrt(static_cast<double>(variance[o]) + epsilon);
      const double bias =
          bias_ == nullptr ? 0.0 : static_cast<double>(bias_->value.data<float>()[o]);
      gamma_->gradient.data<float>()[o] =
          static_cast<float>(r * (dot + (bias - static_cast<double>(mean[o])) * sum));
      beta_->gradient.data<float>()[o] = static_cast<float>(sum);
      slope = static_cast<double>(gamma_->value.data<float>()[o]) * r;
      const auto factor = static_cast<float>(slope);
      std::for_each(gradient + o * cols, gradient + (o + 1) * cols,
                    [factor](float& value) { value *= factor; });
    }
    if (bias_ != nullptr) {
      bias_->gradient.data<float>()[o] = static_cast<float>(slope * sum);
    }
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
