#include "bitloom/quant/ttq.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/quant/observer.h"

namespace bitloom::quant {
namespace {

constexpr float kThresholdRatio = 0.05F;  // Zhu et al., section 4.1
constexpr std::int64_t kGrain = 16384;
constexpr std::size_t kMostPieces = 256;

// Of w and of what stands beside it, by the sign of the code.
struct SidedSums {
  double positive = 0.0;
  double negative = 0.0;
  std::int64_t positives = 0;
  std::int64_t negatives = 0;
};

// Sums of value[i] where w > t and where w < -t; pieces in order, so the bits depend on the thread
// count alone.
SidedSums sums_by_side(const float* w, const float* value, std::int64_t count, float t) {
  std::array<SidedSums, kMostPieces> pieces{};
  parallel_for(count, kGrain, [&](std::int64_t begin, std::int64_t end, int piece) {
    SidedSums sums;
    for (std::int64_t i = begin; i < end; ++i) {
      if (w[i] > t) {
        sums.positive += static_cast<double>(value[i]);
        ++sums.positives;
      } else if (w[i] < -t) {
        sums.negative += static_cast<double>(value[i]);
        ++sums.negatives;
      }
    }
    pieces[static_cast<std::size_t>(piece)] = sums;
  });
  SidedSums total;
  for (const SidedSums& piece : pieces) {
    total.positive += piece.positive;
    total.negative += piece.negative;
    total.positives += piece.positives;
    total.negatives += piece.negatives;
  }
  return total;
}

float mean_of(double sum, std::int64_t count) {
  return count == 0 ? 0.0F : static_cast<float>(sum / static_cast<double>(count));
}

}  // namespace

using layers::Role;

TtqWeights::TtqWeights(const QuantizerContext& context) : TernaryQuantizer(context, true) {
  if (per_channel_) {
    throw ConfigError(ErrorText{name_, "two scales per weight (weight=1) for ttq",
                                "one scale per channel (axis=0)", ""});
  }
  negative_scale_ =
      &store_.declare(cat(name_, ".negative_scale"), Shape{1},
                      moves_ ? Role::kQuantizerScale : Role::kQuantizerState, {.constant = 1.0F});
}

void TtqWeights::settle(ConstTensorView x) {
  if (moves_) {
    const kernels::MinMax range = kernels::min_max(x.data<float>(), x.elements());
    thresholds()[0] = kThresholdRatio * std::max(std::fabs(range.min), std::fabs(range.max));
  }
  const float scale = negative_scale_->value.data<float>()[0];
  if (!(scale > kSmallestScale) || !std::isfinite(scale)) {
    throw NumericError(ErrorText{cat(name_, ".negative_scale"), "a finite scale above 1e-12",
                                 cat(scale), "lower train.scale_lr_ratio or train.lr"});
  }
}

void TtqWeights::start(ConstTensorView x) {
  settle(x);
  const float* w = x.data<float>();
  const SidedSums sums = sums_by_side(w, w, x.elements(), threshold_at(0));
  scales()[0] = std::max(mean_of(sums.positive, sums.positives), kDeadScale);
  negative_scale_->value.data<float>()[0] =
      std::max(-mean_of(sums.negative, sums.negatives), kDeadScale);
}

void TtqWeights::write_reals(const std::int8_t* codes, TensorView y) const {
  const float positive = scale_->value.data<float>()[0];
  const float negative = -negative_scale_->value.data<float>()[0];
  float* reals = y.data<float>();
  parallel_for(y.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      reals[i] = codes[i] > 0 ? positive : (codes[i] < 0 ? negative : 0.0F);
    }
  });
}

void TtqWeights::backward(ConstTensorView x, ConstTensorView dy, TensorView dx) {
  const float* w = x.data<float>();
  const float* in = dy.data<float>();
  const float t = threshold_at(0);
  if (moves_) {
    const SidedSums sums = sums_by_side(w, in, x.elements(), t);
    scale_gradient() = mean_of(sums.positive, sums.positives);
    negative_scale_->gradient.data<float>()[0] = -mean_of(sums.negative, sums.negatives);
  }
  if (dx.empty()) return;
  const float positive = scale_->value.data<float>()[0];
  const float negative = negative_scale_->value.data<float>()[0];
  float* out = dx.data<float>();
  parallel_for(x.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      out[i] = in[i] * (w[i] > t ? positive : (w[i] < -t ? negative : 1.0F));
    }
  });
}

void TtqWeights::forget() {
  Quantizer::forget();
  negative_scale_ = &keep_still(".negative_scale");
}

bool has_two_scales(const layers::Node& node) { return node.word("quantizer", "") == "ttq"; }

}  // namespace bitloom::quant
