#include "bitloom/quant/pact.h"

#include "bitloom/core/error.h"

namespace bitloom::quant {

using layers::Role;

PactQuantizer::PactQuantizer(const QuantizerContext& context)
    : Quantizer(context, false), alpha_decay_(context.node.real("alpha_decay", 0.0)) {
  if (is_weight_ || levels_above() <= 0.0F) {
    throw ConfigError(ErrorText{name_, "an activation with codes above its zero point for pact",
                                is_weight_ ? "a weight" : "zero_point = qmax",
                                "use quantizer=dorefa for weights"});
  }
  alpha_ = &store_.declare(cat(name_, ".alpha"), Shape{1}, Role::kQuantizerScale,
                           {.constant = levels_above()});
}

float PactQuantizer::levels_above() const {
  return static_cast<float>(format_.range.qmax - format_.zero_point);
}

void PactQuantizer::settle(ConstTensorView /*x*/) {
  scales()[0] = usable(alpha_->value.data<float>()[0] / levels_above());
}

void PactQuantizer::start(ConstTensorView x) {
  // Middle of the clips that give this power of two, see LsqQuantizer::start.
  const float middle = power_of_two_ ? 0.70710678F : 1.0F;
  alpha_->value.data<float>()[0] = middle * usable(scales()[0]) * levels_above();
  settle(x);
}

void PactQuantizer::learn(std::span<const kernels::GradientSums> sums) {
  const double ratio = static_cast<double>(format_.range.qmin - format_.zero_point) /
                       static_cast<double>(levels_above());
  const double alpha = static_cast<double>(alpha_->value.data<float>()[0]);
  alpha_->gradient.data<float>()[0] =
      static_cast<float>(sums[0].above + ratio * sums[0].below + alpha_decay_ * alpha);
}

void PactQuantizer::forget() {
  store_.erase(cat(name_, ".alpha"));
  alpha_ = nullptr;
}

}  // namespace bitloom::quant
