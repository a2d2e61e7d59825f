#include "bitloom/quant/reactnet.h"

#include <algorithm>

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

void RsignActivations::gradient(ConstTensorView x, ConstTensorView dy, TensorView dx, bool adds) {
  const std::int64_t channels = threshold_->value.elements();
  const kernels::ChannelRows size = kernels::channel_rows(x.elements() / channels, channels);
  scratch_.resize(std::max(scratch_.size(), kernels::channel_scratch_bytes(size)));
  kernels::approx_sign_gradient({.x = x.data<float>(),
                                 .threshold = threshold_->value.data<float>(),
                                 .dy = kernels::terms_of(dy, {}),
                                 .dx = kernels::place_of(dx),
                                 .adds = adds,
                                 .sums = moves_ ? threshold_->gradient.data<float>() : nullptr},
                                size, scratch_.data());
  if (!moves_) return;
  for (float& value : threshold_->gradient.span<float>()) value = -value;
}

void RsignActivations::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  gradient(x, dy, dx, false);
}

void RsignActivations::add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  gradient(x, dy, dx, true);
}

void RsignActivations::forget() { threshold_ = &keep_still(".threshold"); }

}  // namespace bitloom::quant
