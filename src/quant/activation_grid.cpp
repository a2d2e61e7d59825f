#include "activation_grid.h"

#include <array>

#include "bitloom/quant/ema.h"
#include "node_grid.h"

namespace bitloom::quant {

bool fits_fused_chain(const layers::Node& node) {
  if (!is_fake_quant(node) || quantizes_weight(node) || node.has("input")) return false;
  if (node.word("output", "reals") != "codes" || node.word("grid", "affine") != "affine") {
    return false;
  }
  switch (quantizer_from_word(node.word("quantizer", "static"))) {
    case QuantizerKind::kStatic:
    case QuantizerKind::kEma:
    case QuantizerKind::kLsq:
    case QuantizerKind::kLsqPlus:
    case QuantizerKind::kPact:
    case QuantizerKind::kDorefa:
      return true;
    default:
      return false;
  }
}

ActivationGrid::ActivationGrid(const layers::LayerContext& context) : name_(context.node.name) {
  const layers::Parameter* scale = nullptr;
  const layers::Parameter* zero_point = nullptr;
  if (context.node.has("share")) {
    scale = &context.parameters.at(scale_name(context.node));
    zero_point = shared_zero_point(context);
    joined_range_ = joined_range(context);
    follows_ = joined_range_ != nullptr;
  } else {
    quantizer_ = make_quantizer({context.node, context.inputs[0].shape, context.parameters});
    scale = &quantizer_->scale();
    zero_point = quantizer_->zero_point();
    follows_ =
        context.node.word("quantizer", "static") == "ema" && context.node.integer("frozen", 0) == 0;
  }
  codes_.format = format_of(context.node);
  codes_.dtype = codes_.format.is_signed ? DType::kS8 : DType::kU8;
  codes_.scale = scale->value.data<float>();
  codes_.scale_count = 1;
  if (zero_point != nullptr) codes_.zero_point = zero_point->value.data<float>();
}

void ActivationGrid::follow(const kernels::MinMax& batch) {
  // Ranges are all that such a quantizer reads of a batch, so its two ends stand for it.
  const std::array<float, 2> ends{batch.min, batch.max};
  const ConstTensorView view(DType::kF32, Shape{2}, ends.data());
  if (quantizer_ != nullptr) {
    quantizer_->observe(view);
  } else {
    widen_range(*joined_range_, view);
  }
}

void ActivationGrid::settle() {
  if (quantizer_ != nullptr) quantizer_->settle({});
  check_scale(name_, 0, *codes_.scale);
}

void add_fused_layers(layers::LayerRegistry& registry) {
  layers::LayerKind kind = registry.at("fused");
  const auto& grid = registry.at("fake_quant").attributes;
  kind.attributes.insert(kind.attributes.end(), grid.begin(), grid.end());
  kind.make = [](const layers::LayerContext& context) {
    return std::make_unique<layers::FusedChain>(context, std::make_unique<ActivationGrid>(context));
  };
  registry["fused_quant"] = kind;
}

}  // namespace bitloom::quant
