#include "carried_signs.h"

#include "bitloom/core/error.h"

namespace bitloom::quant {

bool fits_carried_signs(const layers::Node& node) {
  if (!is_fake_quant(node) || quantizes_weight(node) || node.word("output", "reals") != "codes") {
    return false;
  }
  const std::string word = node.word("quantizer", "static");
  return word == "rsign" || word == "bi-real";
}

CarriedSigns::CarriedSigns(const layers::LayerContext& context)
    : quantizer_(make_quantizer({context.node, context.inputs[0].shape, context.parameters})),
      bf16_(context.precision == kernels::Precision::kBf16) {
  LevelQuantizer* levels = quantizer_->levels();
  if (levels == nullptr || !levels->approximates_sign()) {
    throw ConfigError(ErrorText{context.node.name, "quantizer=bi-real or rsign",
                                context.node.word("quantizer", "static"), "use fake_quant"});
  }
  thresholds_ = levels->sign_thresholds();
  learns_ = thresholds_ != nullptr && levels->moves();
  edge_.shape = context.inputs[0].shape;
  edge_.format = format_of(context.node);
  edge_.dtype = DType::kS8;
  edge_.scale = quantizer_->scale().value.data<float>();
  edge_.scale_count = 1;
}

layers::LayerMemory CarriedSigns::memory() const {
  return {.backward_reads_bf16 = bf16_, .carried = true};
}

void CarriedSigns::forward(const layers::ForwardCall& /*call*/) { BITLOOM_ASSERT(false); }
void CarriedSigns::backward(const layers::BackwardCall& /*call*/) { BITLOOM_ASSERT(false); }

const float* CarriedSigns::thresholds() const {
  return thresholds_ == nullptr ? nullptr : thresholds_->value.data<float>();
}

std::span<float> CarriedSigns::threshold_gradient() {
  return learns_ ? thresholds_->gradient.span<float>() : std::span<float>();
}

void add_carried_signs(layers::LayerRegistry& registry) {
  layers::LayerKind kind = registry.at("fake_quant");
  kind.make = [](const layers::LayerContext& context) {
    return std::make_unique<CarriedSigns>(context);
  };
  registry["carried_signs"] = kind;
}

}  // namespace bitloom::quant
