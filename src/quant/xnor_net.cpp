#include "bitloom/quant/xnor_net.h"

#include <cmath>

#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_elementwise.h"

namespace bitloom::quant {
namespace {

struct Row {
  const float* w;
  const float* dy;
  float* dw;
  std::int64_t count;
};

// `moves`: alpha follows the weights.
void chain_rule(const Row& row, float alpha, bool moves) {
  double sum = 0.0;
  if (moves) {
    for (std::int64_t i = 0; i < row.count; ++i) {
      sum += static_cast<double>(row.w[i] >= 0.0F ? row.dy[i] : -row.dy[i]);
    }
  }
  const auto mean = static_cast<float>(sum / static_cast<double>(row.count));
  for (std::int64_t i = 0; i < row.count; ++i) {
    const float inside = std::fabs(row.w[i]) <= 1.0F ? alpha * row.dy[i] : 0.0F;
    row.dw[i] = inside + (row.w[i] >= 0.0F ? mean : -mean);
  }
}

}  // namespace

BwnWeights::BwnWeights(const QuantizerContext& context, bool through_alpha)
    : LevelQuantizer(context, true, integer::Grid::kBinary, false), through_alpha_(through_alpha) {}

void BwnWeights::settle(ConstTensorView x) { follow_mean_magnitude(x); }

void BwnWeights::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  if (dx.empty()) return;
  if (!through_alpha_) {
    kernels::copy_f32(dy, dx);
    return;
  }
  const float* alpha = scale_->value.data<float>();
  parallel_for(rows(), 1, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t at = row * cols();
      chain_rule({x.data<float>() + at, dy.data<float>() + at, dx.data<float>() + at, cols()},
                 alpha[row], moves_);
    }
  });
}

}  // namespace bitloom::quant
