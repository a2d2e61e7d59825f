#include "bitloom/quant/fake_quant_layer.h"

#include "bitloom/core/error.h"
#include "bitloom/quant/ema.h"
#include "bitloom/quant/levels.h"
#include "node_grid.h"

namespace bitloom::quant {
namespace {

constexpr float kOne = 1.0F;

}  // namespace

FakeQuantLayer::FakeQuantLayer(const layers::LayerContext& context)
    : name_(context.node.name),
      bf16_(context.precision == kernels::Precision::kBf16),
      source_scaled_(context.inputs[0].gradient_factor != nullptr) {
  const layers::Edge& input = context.inputs[0];
  if (input.dtype != DType::kF32) {
    throw ShapeError(
        ErrorText{name_, "reals to quantize", "codes", "two fake_quant nodes in a row"});
  }
  if (context.node.has("share")) {
    scale_ = &context.parameters.at(scale_name(context.node));
    zero_point_ = shared_zero_point(context);
    joined_range_ = joined_range(context);
  } else {
    quantizer_ = make_quantizer({context.node, input.shape, context.parameters});
    scale_ = &quantizer_->scale();
    zero_point_ = quantizer_->zero_point();
  }
  const std::int64_t scales = scale_->value.elements();
  rows_ = {.rows = scales,
           .cols = input.shape.elements() / scales,
           .scale = scale_->value.data<float>(),
           .scale_per_row = context.node.has("axis"),
           .format = format_of(context.node)};
  if (context.node.word("input", "reals") == "codes") {
    rows_.scale = &kOne;
    rows_.format.zero_point = 0;
    takes_codes_ = true;
  }
  sums_.resize(static_cast<std::size_t>(scales));

  edge_.shape = input.shape;
  if (context.node.word("output", "reals") == "codes") {
    edge_.format = format_of(context.node);
    edge_.dtype = edge_.format.is_signed ? DType::kS8 : DType::kU8;
    edge_.scale = scale_->value.data<float>();
    edge_.scale_count = scales;
    if (zero_point_ != nullptr) edge_.zero_point = zero_point_->value.data<float>();
  }
}

layers::LayerMemory FakeQuantLayer::memory() const {
  layers::LayerMemory memory{.backward_reads_input = {true}};
  const bool levels = quantizer_ != nullptr && quantizer_->levels() != nullptr;
  memory.backward_adds = levels && quantizer_->levels()->adds_gradients();
  memory.backward_reads_bf16 = bf16_ && levels && quantizer_->levels()->takes_bf16_gradients();
  memory.backward_writes_bf16 = {memory.backward_reads_bf16 && !source_scaled_};
  if (levels && edge_.dtype == DType::kF32) {
    memory.scratch_bytes = static_cast<std::size_t>(edge_.shape.elements());  // codes
  }
  return memory;
}

void FakeQuantLayer::check_scales() const {
  for (std::int64_t i = 0; i < scale_->value.elements(); ++i) {
    check_scale(name_, i, scale_->value.data<float>()[i]);
  }
}

void FakeQuantLayer::forward_levels(const layers::ForwardCall& call) {
  LevelQuantizer& levels = *quantizer_->levels();
  if (call.phase == layers::Phase::kTrain) levels.observe(call.inputs[0]);
  levels.settle(call.inputs[0]);
  check_scales();
  const bool reals = edge_.dtype == DType::kF32;
  auto* codes =
      reals ? reinterpret_cast<std::int8_t*>(call.scratch) : call.output.data<std::int8_t>();
  levels.write_codes(call.inputs[0], codes);
  if (reals) levels.write_reals(codes, call.output);
}

void FakeQuantLayer::forward(const layers::ForwardCall& call) {
  if (quantizer_ != nullptr && quantizer_->levels() != nullptr) {
    forward_levels(call);
    return;
  }
  quantized_ = call.inputs[0];
  if (quantizer_ != nullptr) {
    if (call.phase == layers::Phase::kTrain) quantizer_->observe(call.inputs[0]);
    quantizer_->settle(call.inputs[0]);
    quantized_ = quantizer_->transformed(call.inputs[0]);
  } else if (joined_range_ != nullptr && call.phase == layers::Phase::kTrain) {
    widen_range(*joined_range_, call.inputs[0]);
  }
  if (zero_point_ != nullptr && !takes_codes_) {
    rows_.format.zero_point = static_cast<std::int32_t>(zero_point_->value.data<float>()[0]);
  }
  check_scales();
  if (edge_.dtype == DType::kF32) {
    kernels::fake_quantize(quantized_.data<float>(), rows_, call.output.data<float>());
  } else {
    kernels::quantize(quantized_.data<float>(), rows_, call.output.raw());
  }
}

void FakeQuantLayer::backward(const layers::BackwardCall& call) {
  if (quantizer_ != nullptr && quantizer_->levels() != nullptr) {
    LevelQuantizer& levels = *quantizer_->levels();
    if (call.adds) {
      levels.add_backward(call.inputs[0], call.output_gradient, call.input_gradients[0]);
    } else {
      levels.backward(call.inputs[0], call.output_gradient, call.input_gradients[0]);
    }
    return;
  }
  const bool learns = quantizer_ != nullptr && quantizer_->learns();
  const TensorView dx = call.input_gradients[0];
  kernels::fake_quantize_backward(quantized_.data<float>(), call.output_gradient.data<float>(),
                                  rows_, dx.empty() ? nullptr : dx.data<float>(),
                                  learns ? sums_.data() : nullptr);
  if (quantizer_ != nullptr && !dx.empty()) quantizer_->transform_backward(call.inputs[0], dx);
  if (learns) quantizer_->learn(sums_);
}

}  // namespace bitloom::quant
