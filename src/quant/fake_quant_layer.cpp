#include "bitloom/quant/fake_quant_layer.h"

#include <cmath>

#include "bitloom/quant/observer.h"

namespace bitloom::quant {

using layers::Role;

QuantizerKind quantizer_from_word(std::string_view word) {
  if (word == "static") return QuantizerKind::kStatic;
  if (word == "ema") return QuantizerKind::kEma;
  if (word == "lsq") return QuantizerKind::kLsq;
  throw ConfigError(ErrorText{"quantizer", "static, ema or lsq", std::string(word), ""});
}

bool is_fake_quant(const layers::Node& node) { return node.op == "fake_quant"; }

std::string scale_name(const layers::Node& node) {
  return cat(node.word("share", node.name), ".scale");
}

integer::AffineFormat format_of(const layers::Node& node) {
  integer::AffineFormat format;
  format.bits = static_cast<int>(node.integer("bits", 8));
  format.is_signed = dtype_from_word(node.word("dtype", "u8")) == DType::kS8;
  format.range.qmin = static_cast<std::int32_t>(node.integer("qmin", 0));
  format.range.qmax = static_cast<std::int32_t>(node.integer("qmax", 255));
  format.zero_point = static_cast<std::int32_t>(node.integer("zero_point", 0));
  const integer::CodeRange storage =
      format.is_signed ? integer::CodeRange{-128, 127} : integer::CodeRange{0, 255};
  const bool fits = format.bits >= 2 && format.bits <= 8 && format.range.qmin >= storage.qmin &&
                    format.range.qmax <= storage.qmax && format.range.qmin < format.range.qmax &&
                    format.range.levels() <= (1 << format.bits) &&
                    format.zero_point >= format.range.qmin &&
                    format.zero_point <= format.range.qmax;
  if (!fits) {
    throw ConfigError(ErrorText{
        node.name, "bits 2..8, qmin < qmax within dtype and 2^bits levels, zero_point in the range",
        cat("bits ", format.bits, ", range [", format.range.qmin, ", ", format.range.qmax,
            "], zero_point ", format.zero_point),
        ""});
  }
  return format;
}

FakeQuantLayer::FakeQuantLayer(const layers::LayerContext& context)
    : name_(context.node.name),
      kind_(quantizer_from_word(context.node.word("quantizer", "static"))),
      is_weight_(context.node.has("axis") || context.node.integer("weight", 0) != 0),
      decay_(context.node.real("decay", 0.99)),
      format_(format_of(context.node)),
      shared_(context.node.has("share")) {
  const layers::Edge& input = context.inputs[0];
  if (input.dtype != DType::kF32) {
    throw ShapeError(
        ErrorText{name_, "reals to quantize", "codes", "two fake_quant nodes in a row"});
  }
  const bool per_channel = context.node.has("axis");
  if (per_channel && context.node.integer("axis", 0) != 0) {
    throw ConfigError(
        ErrorText{name_, "axis=0 (output channels)", context.node.word("axis", ""), ""});
  }
  const std::int64_t scales = per_channel ? input.shape[0] : 1;
  const Role role = kind_ == QuantizerKind::kLsq ? Role::kQuantizerScale : Role::kQuantizerState;
  if (shared_) {
    scale_ = &context.parameters.at(scale_name(context.node));
  } else {
    scale_ = &context.parameters.declare(scale_name(context.node), Shape{scales}, role,
                                         {.constant = 1.0F});
    if (kind_ == QuantizerKind::kEma && !is_weight_) {
      range_ =
          &context.parameters.declare(cat(name_, ".range"), Shape{2}, Role::kQuantizerState, {});
    }
  }
  rows_ = {.rows = scales,
           .cols = input.shape.elements() / scales,
           .scale = scale_->value.data<float>(),
           .scale_per_row = per_channel,
           .format = format_};
  const std::int64_t counted = is_weight_ ? rows_.cols : input.shape.elements() / input.shape.n();
  gradient_scale_ = static_cast<float>(
      1.0 / std::sqrt(static_cast<double>(counted) * static_cast<double>(format_.range.qmax)));

  edge_.shape = input.shape;
  if (context.node.word("output", "reals") == "codes") {
    edge_.dtype = format_.is_signed ? DType::kS8 : DType::kU8;
    edge_.format = format_;
    edge_.scale = rows_.scale;
    edge_.scale_count = scales;
  }
}

layers::LayerMemory FakeQuantLayer::memory() const { return {.backward_reads_input = {true}}; }

void FakeQuantLayer::observe(ConstTensorView x) {
  float* scale = scale_->value.data<float>();
  const float* values = x.data<float>();
  if (is_weight_) {
    for (std::int64_t row = 0; row < rows_.rows; ++row) {
      scale[row] =
          scale_for_range(kernels::min_max(values + row * rows_.cols, rows_.cols), format_);
    }
    return;
  }
  const kernels::MinMax batch = kernels::min_max(values, x.elements());
  float* range = range_->value.data<float>();
  const auto blend = [this](float old_value, float new_value) {
    return static_cast<float>(decay_ * static_cast<double>(old_value) +
                              (1.0 - decay_) * static_cast<double>(new_value));
  };
  const bool first = range[0] == 0.0F && range[1] == 0.0F;
  range[0] = first ? batch.min : blend(range[0], batch.min);
  range[1] = first ? batch.max : blend(range[1], batch.max);
  scale[0] = scale_for_range({range[0], range[1]}, format_);
}

void FakeQuantLayer::check_scales() const {
  for (std::int64_t i = 0; i < scale_->value.elements(); ++i) {
    const float scale = scale_->value.data<float>()[i];
    if (!(scale > kSmallestScale) || !std::isfinite(scale)) {
      throw NumericError(ErrorText{cat(name_, ".scale[", i, "]"), "a finite scale above 1e-12",
                                   cat(scale), "lower train.scale_lr_ratio or train.lr"});
    }
  }
}

void FakeQuantLayer::forward(const layers::ForwardCall& call) {
  const ConstTensorView x = call.inputs[0];
  // Weights follow their own range in evaluation too: it is a function of the weights alone.
  if (kind_ == QuantizerKind::kEma && !shared_ &&
      (is_weight_ || call.phase == layers::Phase::kTrain)) {
    observe(x);
  }
  check_scales();
  if (edge_.dtype == DType::kF32) {
    kernels::fake_quantize(x.data<float>(), rows_, call.output.data<float>());
  } else {
    kernels::quantize(x.data<float>(), rows_, call.output.raw());
  }
}

void FakeQuantLayer::backward(const layers::BackwardCall& call) {
  const bool learns = kind_ == QuantizerKind::kLsq && !shared_;
  float* scale_gradient = learns ? scale_->gradient.data<float>() : nullptr;
  float* dx = call.input_gradients[0].empty() ? nullptr : call.input_gradients[0].data<float>();
  kernels::fake_quantize_backward(call.inputs[0].data<float>(), call.output_gradient.data<float>(),
                                  rows_, dx, scale_gradient);
  if (learns) {
    for (std::int64_t i = 0; i < scale_->gradient.elements(); ++i) {
      scale_gradient[i] *= gradient_scale_;
    }
  }
}

}  // namespace bitloom::quant
