#include "bitloom/quant/bi_real.h"

#include "bitloom/kernels/few_levels.h"

namespace bitloom::quant {

using integer::Grid;

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
  if (dx.empty()) return;
  kernels::approx_sign_gradient(x.data<float>(), {.rows = 1, .cols = x.elements()},
                                dy.data<float>(), dx.data<float>());
}

void BiRealActivations::add_backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  kernels::add_approx_sign_gradient(x.data<float>(), {.rows = 1, .cols = x.elements()},
                                    dy.data<float>(), dx.data<float>());
}

}  // namespace bitloom::quant
