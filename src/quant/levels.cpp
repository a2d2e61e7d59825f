#include "bitloom/quant/levels.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/observer.h"

namespace bitloom::quant {

using integer::Grid;
using layers::Role;

LevelQuantizer::LevelQuantizer(const QuantizerContext& context, bool weight, Grid grid,
                               bool learned)
    : Quantizer(context, learned && context.node.integer("frozen", 0) == 0),
      moves_(context.node.integer("frozen", 0) == 0),
      sums_(static_cast<std::size_t>(rows())) {
  if (is_weight_ != weight || format_.grid != grid) {
    throw ConfigError(ErrorText{
        name_,
        cat(weight ? "a weight" : "an activation", " with grid=", to_word(grid),
            " for quantizer=", context.node.word("quantizer", "")),
        cat(is_weight_ ? "a weight" : "an activation", " with grid=", to_word(format_.grid)), ""});
  }
  if (weight) describe_latent(context);
}

void LevelQuantizer::describe_latent(const QuantizerContext& context) {
  if (!store_.has(context.node.inputs[0])) return;
  layers::Parameter& latent = store_.at(context.node.inputs[0]);
  if (context.node.has("bound")) {
    latent.bound = static_cast<float>(context.node.real("bound", 1.0));
  }
  if (context.node.word("lr_scaling", "") != "glorot") return;
  const Shape& shape = context.input;
  const std::int64_t fan_in = shape.elements() / shape[0];
  const std::int64_t window = shape.rank() == 4 ? shape.h() * shape.w() : 1;
  latent.lr_ratio = std::sqrt(static_cast<double>(fan_in + shape[0] * window) / 1.5);
}

void LevelQuantizer::write_codes(ConstTensorView x, std::int8_t* codes) {
  kernels::sign_codes(x.data<float>(), {.rows = 1, .cols = x.elements()}, codes);
}

void LevelQuantizer::write_reals(const std::int8_t* codes, TensorView y) const {
  const Tensor& scale = scale_->value;
  kernels::dequantize(codes,
                      {.rows = scale.elements(),
                       .cols = y.elements() / scale.elements(),
                       .scale = scale.data<float>(),
                       .scale_per_row = scale.elements() > 1,
                       .format = format_},
                      y.data<float>());
}

void LevelQuantizer::add_backward(ConstTensorView /*x*/, ConstTensorView /*dy*/,
                                  TensorView /*dx*/) {
  BITLOOM_ASSERT(adds_gradients());
}

void LevelQuantizer::follow_mean_magnitude(ConstTensorView x) {
  if (!moves_) return;
  kernels::magnitude_sums(x.data<float>(), {.rows = rows(), .cols = cols()}, sums_.data());
  std::ranges::transform(sums_, scales().begin(), [](const kernels::MagnitudeSum& sum) {
    const double mean = sum.count == 0 ? 0.0 : sum.sum / static_cast<double>(sum.count);
    return std::max(static_cast<float>(mean), kDeadScale);
  });
}

TernaryQuantizer::TernaryQuantizer(const QuantizerContext& context, bool learned)
    : LevelQuantizer(context, true, Grid::kTernary, learned) {
  threshold_ = &store_.declare(cat(name_, ".threshold"), Shape{rows()}, Role::kQuantizerState, {});
}

void TernaryQuantizer::write_codes(ConstTensorView x, std::int8_t* codes) {
  kernels::ternary_codes(x.data<float>(),
                         {.rows = rows(),
                          .cols = cols(),
                          .threshold = threshold_->value.data<float>(),
                          .threshold_per_row = rows() > 1},
                         codes);
}

void write_level_codes(const layers::Node& node, const layers::ParameterStore& store,
                       ConstTensorView weight, std::int8_t* codes) {
  if (format_of(node).grid == Grid::kBinary) {
    kernels::sign_codes(weight.data<float>(), {.rows = 1, .cols = weight.elements()}, codes);
    return;
  }
  const Tensor& threshold = store.at(cat(node.name, ".threshold")).value;
  kernels::ternary_codes(weight.data<float>(),
                         {.rows = threshold.elements(),
                          .cols = weight.elements() / threshold.elements(),
                          .threshold = threshold.data<float>(),
                          .threshold_per_row = threshold.elements() > 1},
                         codes);
}

}  // namespace bitloom::quant
