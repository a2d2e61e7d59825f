#include "bitloom/quant/dorefa.h"

#include <algorithm>
#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/kernels/f32_elementwise.h"

namespace bitloom::quant {
namespace {

constexpr std::int64_t kGrain = 4096;

void write_tanh(ConstTensorView x, Tensor& out) {
  const float* in = x.data<float>();
  float* values = out.data<float>();
  parallel_for(x.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) values[i] = std::tanh(in[i]);
  });
}

}  // namespace

Tensor tanh_of(ConstTensorView x) {
  Tensor out(DType::kF32, x.shape());
  write_tanh(x, out);
  return out;
}

DorefaWeights::DorefaWeights(const QuantizerContext& context, bool moves)
    : Quantizer(context, false), moves_(moves), tanh_(DType::kF32, context.input) {
  if (format_.range.qmin != -format_.range.qmax || format_.zero_point != 0) {
    throw ConfigError(ErrorText{name_, "symmetric codes for dorefa weights",
                                cat("[", format_.range.qmin, ", ", format_.range.qmax, "]"),
                                "set quant.narrow_weights=true"});
  }
}

void DorefaWeights::settle(ConstTensorView x) {
  if (!moves_) return;
  const auto rows = static_cast<std::int64_t>(scales().size());
  const std::int64_t cols = x.elements() / rows;
  for (std::int64_t row = 0; row < rows; ++row) {
    const kernels::MinMax range = kernels::min_max(x.data<float>() + row * cols, cols);
    // tanh is odd and rises, so its largest magnitude is that of the largest weight.
    const float most = std::tanh(std::max(std::fabs(range.min), std::fabs(range.max)));
    scales()[static_cast<std::size_t>(row)] =
        most == 0.0F ? 1.0F : usable(most * kScaleSlack / static_cast<float>(format_.range.qmax));
  }
}

void DorefaWeights::start(ConstTensorView x) { settle(x); }

ConstTensorView DorefaWeights::transformed(ConstTensorView x) {
  write_tanh(x, tanh_);
  return tanh_;
}

void DorefaWeights::transform_backward(ConstTensorView /*x*/, TensorView dx) {
  const float* t = tanh_.data<float>();
  float* out = dx.data<float>();
  parallel_for(dx.elements(), kGrain, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) out[i] *= 1.0F - t[i] * t[i];
  });
}

DorefaBinaryWeights::DorefaBinaryWeights(const QuantizerContext& context)
    : LevelQuantizer(context, true, integer::Grid::kBinary, false) {}

void DorefaBinaryWeights::settle(ConstTensorView x) { follow_mean_magnitude(x); }

void DorefaBinaryWeights::backward(ConstTensorView /*x*/, ConstTensorView dy, TensorView dx) {
  if (!dx.empty()) kernels::copy_f32(dy, dx);
}

DorefaActivations::DorefaActivations(const QuantizerContext& context) : Quantizer(context, false) {}

void DorefaActivations::settle(ConstTensorView /*x*/) {
  scales()[0] = usable(1.0F / static_cast<float>(format_.range.qmax - format_.zero_point));
}

void DorefaActivations::start(ConstTensorView x) { settle(x); }

}  // namespace bitloom::quant
