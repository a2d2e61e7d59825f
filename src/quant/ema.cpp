#include "bitloom/quant/ema.h"

#include <algorithm>

#include "bitloom/quant/observer.h"

namespace bitloom::quant {

using layers::Role;

EmaQuantizer::EmaQuantizer(const QuantizerContext& context)
    : Quantizer(context, false), decay_(context.node.real("decay", 0.99)) {
  if (is_weight_) return;
  range_ = &store_.declare(cat(name_, ".range"), Shape{2}, Role::kQuantizerState, {});
}

void EmaQuantizer::observe(ConstTensorView x) {
  if (is_weight_) return;
  const kernels::MinMax batch = kernels::min_max(x.data<float>(), x.elements());
  float* range = range_->value.data<float>();
  const auto blend = [this](float old_value, float new_value) {
    return static_cast<float>(decay_ * static_cast<double>(old_value) +
                              (1.0 - decay_) * static_cast<double>(new_value));
  };
  const bool first = range[0] == 0.0F && range[1] == 0.0F;
  range[0] = first ? batch.min : blend(range[0], batch.min);
  range[1] = first ? batch.max : blend(range[1], batch.max);
}

void EmaQuantizer::settle(ConstTensorView x) {
  if (!is_weight_) {
    const float* range = range_->value.data<float>();
    if (range[0] == 0.0F && range[1] == 0.0F) return;  // nothing seen yet
    scales()[0] = usable(scale_for_range({range[0], range[1]}, format_));
    return;
  }
  const auto rows = static_cast<std::int64_t>(scales().size());
  const std::int64_t cols = x.elements() / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    const kernels::MinMax range = kernels::min_max(x.data<float>() + row * cols, cols);
    scales()[static_cast<std::size_t>(row)] = usable(kScaleSlack * scale_for_range(range, format_));
  }
}

void EmaQuantizer::start(ConstTensorView x) { settle(x); }

void EmaQuantizer::forget() {
  store_.erase(cat(name_, ".range"));
  range_ = nullptr;
}

void widen_range(layers::Parameter& range, ConstTensorView x) {
  const kernels::MinMax batch = kernels::min_max(x.data<float>(), x.elements());
  float* wide = range.value.data<float>();
  wide[0] = std::min(wide[0], batch.min);
  wide[1] = std::max(wide[1], batch.max);
}

}  // namespace bitloom::quant
