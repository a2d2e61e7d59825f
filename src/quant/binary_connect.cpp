#include "bitloom/quant/binary_connect.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_elementwise.h"

namespace bitloom::quant {

using integer::Grid;

BinaryConnectWeights::BinaryConnectWeights(const QuantizerContext& context, bool stochastic)
    : LevelQuantizer(context, true, Grid::kBinary, false),
      random_(context.parameters.seed(), cat("binary-connect/", context.node.name)) {
  if (!stochastic) return;
  step_ = &store_.declare(cat(name_, ".step"), Shape{1}, layers::Role::kQuantizerState, {});
}

void BinaryConnectWeights::observe(ConstTensorView /*x*/) { draws_ = step_ != nullptr && moves_; }

void BinaryConnectWeights::settle(ConstTensorView /*x*/) { std::ranges::fill(scales(), 1.0F); }

void BinaryConnectWeights::write_codes(ConstTensorView x, std::int8_t* codes) {
  if (!draws_) {
    LevelQuantizer::write_codes(x, codes);
    return;
  }
  float& step = *step_->value.data<float>();
  draw_signs(x, random_, static_cast<std::uint64_t>(step) << 34U, codes);
  step += 1.0F;
  draws_ = false;
}

void BinaryConnectWeights::backward(ConstTensorView /*x*/, ConstTensorView dy, TensorView dx) {
  if (!dx.empty()) kernels::copy_f32(dy, dx);
}

void draw_signs(ConstTensorView x, const RandomStream& random, std::uint64_t first,
                std::int8_t* codes) {
  constexpr std::int64_t kGrain = 1024;  // blocks of four numbers
  const float* reals = x.data<float>();
  const std::int64_t count = x.elements();
  parallel_for((count + 3) / 4, kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t block = begin; block < end; ++block) {
      const auto numbers = random.block(first / 4 + static_cast<std::uint64_t>(block));
      const std::int64_t last = std::min(count, 4 * block + 4);
      for (std::int64_t i = 4 * block; i < last; ++i) {
        const std::uint32_t bits = numbers[static_cast<std::size_t>(i - 4 * block)];
        const float uniform = static_cast<float>(bits >> 8U) * 0x1p-24F;
        codes[i] = (reals[i] + 1.0F) * 0.5F >= uniform && reals[i] >= -1.0F ? 1 : -1;
      }
    }
  });
}

}  // namespace bitloom::quant
