#include "bitloom/quant/lsq.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

using layers::Role;

bool power_of_two(const QuantizerContext& context) {
  return context.node.integer("power_of_two", 0) != 0;
}

}  // namespace

LsqQuantizer::LsqQuantizer(const QuantizerContext& context)
    : Quantizer(context, !power_of_two(context)),
      learned_(scale_),
      gradient_scale_(1.0 / std::sqrt(static_cast<double>(counted()) *
                                      static_cast<double>(format_.range.qmax))) {
  if (power_of_two_) {
    learned_ = &store_.declare(cat(name_, ".real_scale"), scale_->value.shape(),
                               Role::kQuantizerScale, {.constant = 1.0F});
  }
  if (context.node.word("quantizer", "") != "lsq+") return;
  if (is_weight_ || format_.is_signed) {
    throw ConfigError(ErrorText{name_, "an unsigned activation for lsq+",
                                is_weight_ ? "a weight" : "signed codes",
                                "use quantizer=lsq here"});
  }
  offset_ = &store_.declare(cat(name_, ".offset"), Shape{1}, Role::kQuantizerOffset, {});
  zero_point_ = &store_.declare(cat(name_, ".zero_point"), Shape{1}, Role::kQuantizerState,
                                {.constant = static_cast<float>(format_.zero_point)});
}

void LsqQuantizer::settle(ConstTensorView /*x*/) {
  if (power_of_two_) {
    const auto learned = learned_->value.span<float>();
    std::ranges::transform(learned, scales().begin(), [this](float r) { return usable(r); });
  }
  if (offset_ == nullptr) return;
  const double wanted =
      -static_cast<double>(offset_->value.data<float>()[0]) / static_cast<double>(scales()[0]);
  // A scale that has collapsed is told by the layer; here it must not become an integer.
  const double low = format_.range.qmin;
  const double high = format_.range.qmax;
  const double inside = wanted > low ? std::min(wanted, high) : low;
  format_.zero_point = static_cast<std::int32_t>(std::nearbyint(inside));
  zero_point_->value.data<float>()[0] = static_cast<float>(format_.zero_point);
}

void LsqQuantizer::start(ConstTensorView x) {
  if (power_of_two_) {
    // power_of_two_scale rounds up: the middle of the exponents that give this scale, so that a
    // first small step does not double it.
    constexpr float kMiddle = 0.70710678F;
    std::ranges::transform(scales(), learned_->value.span<float>().begin(),
                           [this](float s) { return kMiddle * usable(s); });
  }
  if (offset_ != nullptr) {
    offset_->value.data<float>()[0] = -static_cast<float>(format_.zero_point) * scales()[0];
  }
  settle(x);
}

void LsqQuantizer::learn(std::span<const kernels::GradientSums> sums) {
  const int zero = offset_ != nullptr ? 0 : format_.zero_point;
  const auto below = static_cast<double>(format_.range.qmin - zero);
  const auto above = static_cast<double>(format_.range.qmax - zero);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    double gradient = sums[i].inside + sums[i].below * below + sums[i].above * above;
    if (power_of_two_) {
      gradient *=
          static_cast<double>(scales()[i]) / static_cast<double>(learned_->value.span<float>()[i]);
    }
    learned_->gradient.span<float>()[i] = static_cast<float>(gradient_scale_ * gradient);
  }
  if (offset_ != nullptr) {
    offset_->gradient.data<float>()[0] =
        static_cast<float>(gradient_scale_ * (sums[0].below + sums[0].above));
  }
}

void LsqQuantizer::forget() {
  Quantizer::forget();
  learned_ = scale_;
  for (const char* word : {".real_scale", ".offset", ".zero_point"}) store_.erase(name_ + word);
  offset_ = nullptr;
}

}  // namespace bitloom::quant
