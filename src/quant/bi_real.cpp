#include "bitloom/quant/bi_real.h"

#include "bitloom/kernels/few_levels.h"

namespace bitloom::quant {

using integer::Grid;

namespace {

void gradient(ConstTensorView x, ConstTensorView dy, TensorView dx, bool adds) {
  const std::int64_t channels = x.shape().c();
  kernels::approx_sign_gradient({.x = x.data<float>(),
                                 .dy = kernels::terms_of(dy, {}),
                                 .dx = kernels::place_of(dx),
                                 .adds = adds},
                                kernels::channel_rows(x.elements() / channels, channels), nullptr);
}

}  // namespace

BiRealWeights::BiRealWeights(const QuantizerContext& context)
    : LevelQuantizer(context, true, Grid::kBinary, false) {}

void BiRealWeights::settle(ConstTensorView x) { follow_mean_magnitude(x); }

void BiRealWeights::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  if (dx.empty()) return;
  kernels::hardtanh_gradient(x.data<float>(), dy.data<float>(), x.elements(), dx.data<float>());
}

BiRealActivations::BiRealActivations(const QuantizerContext& context)
    : LevelQuantizer(context, false, Grid::kBinary, false) {}

void BiRealActivations::settle(ConstTensorView /*x*/) { scales()[0] = 1.0F; }

void BiRealActivations::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  if (!dx.empty()) gradient(x, dy, dx, false);
}

void BiRealActivations::add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  gradient(x, dy, dx, true);
}

}  // namespace bitloom::quant
