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

void RsignActivations::learn(ConstTensorView x, ConstTensorView dy, bool adds, float* dx) {
  const std::int64_t channels = threshold_->value.elements();
  const kernels::ChannelRows size = kernels::channel_rows(x.elements() / channels, channels);
  scratch_.resize(std::max(scratch_.size(), kernels::channel_scratch_bytes(size)));
  const auto gradient = threshold_->gradient.span<float>();
  kernels::approx_sign_gradient_sums(x.data<float>(), size, threshold_->value.data<float>(),
                                     dy.data<float>(), adds, dx, gradient.data(), scratch_.data());
  for (float& value : gradient) value = -value;
}

void RsignActivations::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  float* to = dx.empty() ? nullptr : dx.data<float>();
  if (moves_) {
    learn(x, dy, false, to);
  } else if (to != nullptr) {
    kernels::approx_sign_gradient(x.data<float>(), rows_of(x, *threshold_), dy.data<float>(), to);
  }
}

void RsignActivations::add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  if (moves_) {
    learn(x, dy, true, dx.data<float>());
  } else {
    kernels::add_approx_sign_gradient(x.data<float>(), rows_of(x, *threshold_), dy.data<float>(),
                                      dx.data<float>());
  }
}

void RsignActivations::forget() { threshold_ = &keep_still(".threshold"); }

}  // namespace bitloom::quant
