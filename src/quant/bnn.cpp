#include "bitloom/quant/bnn.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/kernels/few_levels.h"
#include "bitloom/quant/binary_connect.h"

namespace bitloom::quant {
namespace {

void through_hardtanh(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  if (dx.empty()) return;
  kernels::hardtanh_gradient(x.data<float>(), dy.data<float>(), x.elements(), dx.data<float>());
}

}  // namespace

using integer::Grid;

BnnWeights::BnnWeights(const QuantizerContext& context)
    : LevelQuantizer(context, true, Grid::kBinary, false) {}

void BnnWeights::settle(ConstTensorView /*x*/) { std::ranges::fill(scales(), 1.0F); }

void BnnWeights::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  through_hardtanh(x, dy, dx);
}

BnnActivations::BnnActivations(const QuantizerContext& context, bool stochastic)
    : LevelQuantizer(context, false, Grid::kBinary, false),
      random_(context.parameters.seed(), cat("bnn/", context.node.name)) {
  if (!stochastic) return;
  step_ = &store_.declare(cat(name_, ".step"), Shape{1}, layers::Role::kQuantizerState, {});
}

void BnnActivations::observe(ConstTensorView /*x*/) { draws_ = step_ != nullptr && moves_; }

void BnnActivations::settle(ConstTensorView /*x*/) { scales()[0] = 1.0F; }

void BnnActivations::write_codes(ConstTensorView x, std::int8_t* codes) {
  if (!draws_) {
    LevelQuantizer::write_codes(x, codes);
    return;
  }
  float& step = *step_->value.data<float>();
  draw_signs(x, random_, static_cast<std::uint64_t>(step) << 34U, codes);
  step += 1.0F;
  draws_ = false;
}

void BnnActivations::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  through_hardtanh(x, dy, dx);
}

}  // namespace bitloom::quant
