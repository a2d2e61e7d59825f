#include "bitloom/quant/reactnet.h"

#include "bitloom/core/error.h"
#include "bitloom/kernels/few_levels.h"

namespace bitloom::quant {
namespace {

kernels::SignRows rows_of(ConstTensorView x, const layers::Parameter& threshold) {
  const std::int64_t channels = threshold.value.elements();
  return {.rows = x.elements() / channels,
          .cols = channels,
          .threshold = threshold.value.data<float>()};
}

}  // namespace

using layers::Role;

RsignActivations::RsignActivations(const QuantizerContext& context)
    : LevelQuantizer(context, false, integer::Grid::kBinary, false) {
  const std::string name = cat(name_, ".threshold");
  // Outside of a network (quantizer.cpp) the shape of the activation is not known.
  const Shape channels =
      store_.has(name) ? store_.at(name).value.shape() : Shape{context.input.c()};
  threshold_ =
      &store_.declare(name, channels, moves_ ? Role::kQuantizerOffset : Role::kQuantizerState, {});
}

void RsignActivations::settle(ConstTensorView /*x*/) { scales()[0] = 1.0F; }

void RsignActivations::write_codes(ConstTensorView x, std::int8_t* codes) {
  kernels::sign_codes(x.data<float>(), rows_of(x, *threshold_), codes);
}

void RsignActivations::learn_thresholds(ConstTensorView x, ConstTensorView dy) {
  if (!moves_) return;
  const auto gradient = threshold_->gradient.span<float>();
  kernels::approx_sign_sums(x.data<float>(), rows_of(x, *threshold_), dy.data<float>(),
                            gradient.data());
  for (float& value : gradient) value = -value;
}

void RsignActivations::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  learn_thresholds(x, dy);
  if (dx.empty()) return;
  kernels::approx_sign_gradient(x.data<float>(), rows_of(x, *threshold_), dy.data<float>(),
                                dx.data<float>());
}

void RsignActivations::add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  learn_thresholds(x, dy);
  kernels::add_approx_sign_gradient(x.data<float>(), rows_of(x, *threshold_), dy.data<float>(),
                                    dx.data<float>());
}

void RsignActivations::forget() { threshold_ = &keep_still(".threshold"); }

}  // namespace bitloom::quant
