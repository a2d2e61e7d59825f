#include "bitloom/integer/fixed_point.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <span>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "fixed_point_row.h"

namespace bitloom::integer {
namespace {

constexpr int kWidestShift = 31;
constexpr int kMostFractionalBits = 126;

const TensorInfo& tensor_of(const Model& model, int index) {
  return model.tensors[static_cast<std::size_t>(index)];
}

std::int64_t reach_of(const TensorInfo& info) {
  return std::max(std::abs(std::int64_t{info.format.range.qmin}),
                  std::abs(std::int64_t{info.format.range.qmax}));
}

std::int64_t shifted(std::int64_t value, int shift) { return value * (std::int64_t{1} << shift); }

std::int64_t code_at(ConstTensorView codes, std::int64_t i) {
  return codes.dtype() == DType::kU8 ? std::int64_t{codes.data<std::uint8_t>()[i]}
                                     : std::int64_t{codes.data<std::int8_t>()[i]};
}

template <typename T>
void put_codes(const FixedPointTarget& target, const std::int32_t* acc, std::int64_t first,
               T* codes) {
  for (std::int64_t c = 0; c < target.channels; ++c) {
    std::int64_t v = shifted(std::int64_t{acc[c]} + target.bias[c], target.source_shift);
    if (!target.residual.empty()) {
      v += shifted(code_at(target.residual, first + c), target.residual_shift);
    }
    const std::int64_t code = shift_half_even(v, target.right_shift);
    codes[first + c] =
        static_cast<T>(std::clamp<std::int64_t>(code, target.range.qmin, target.range.qmax));
  }
}

void put_logits(const FixedPointTarget& target, const std::int32_t* acc, std::int64_t first,
                float* reals) {
  for (std::int64_t c = 0; c < target.channels; ++c) {
    const std::int64_t v = std::int64_t{acc[c]} + target.bias[c];
    reals[first + c] = static_cast<float>(v) * target.step;
  }
}

template <typename... Args>
void require(bool holds, const Layer& layer, const Args&... expected) {
  if (!holds) throw FormatError(cat("layer ", layer.name, ": expected ", expected...));
}

// Fractional bits of a tensor of codes. @throws FormatError for other scales.
int steps_of(const Layer& layer, const TensorInfo& info) {
  require(info.dtype != DType::kF32, layer, "codes in ", info.name, ", found f32");
  require(info.format.zero_point == 0 && info.format.grid == Grid::kAffine, layer,
          "an affine grid without zero point in ", info.name);
  const std::optional<int> bits = fractional_bits(info.scale);
  require(bits.has_value(), layer, "a power of two as scale of ", info.name, ", found ",
          info.scale);
  return *bits;
}

bool in_range(int shift) { return shift >= 0 && shift <= kWidestShift; }

void require_product(const Layer& layer) {
  const std::int64_t outputs = layer.weight.shape().n();
  require(!layer.bias_s32.empty() && layer.bias_s32.dtype() == DType::kS32 &&
              layer.bias_s32.shape() == Shape{outputs},
          layer, "bias s32 [", outputs, "]");
  require(!layer.weight_scale.empty() && layer.weight_scale.elements() == outputs, layer,
          "weight scale f32 [", outputs, "]");
  const auto scales = layer.weight_scale.span<float>();
  const bool one = std::ranges::all_of(scales, [&](float scale) { return scale == scales[0]; });
  require(one && fractional_bits(scales[0]).has_value(), layer,
          "one power of two as scale of the weights");
}

}  // namespace

std::optional<int> fractional_bits(float scale) {
  if (!std::isfinite(scale) || scale <= 0.0F) return std::nullopt;
  int exponent = 0;
  if (std::frexp(scale, &exponent) != 0.5F) return std::nullopt;
  const int bits = 1 - exponent;
  if (std::abs(bits) > kMostFractionalBits) return std::nullopt;
  return bits;
}

std::int64_t worst_sum(const Model& model, const Layer& layer) {
  const TensorInfo& source = tensor_of(model, layer.inputs[0]);
  std::int64_t worst = reach_of(source);
  if (layer.op != LayerOp::kAdd) {
    const std::span<const std::int8_t> weight = layer.weight.span<std::int8_t>();
    const std::int64_t outputs = layer.weight.shape().n();
    const std::size_t row = weight.size() / static_cast<std::size_t>(outputs);
    worst = 0;
    for (std::int64_t o = 0; o < outputs; ++o) {
      std::int64_t sum = 0;
      for (const std::int8_t code : weight.subspan(static_cast<std::size_t>(o) * row, row)) {
        sum += std::abs(std::int64_t{code});
      }
      const std::int64_t bias = layer.bias_s32.data<std::int32_t>()[o];
      worst = std::max(worst, sum * reach_of(source) + std::abs(bias));
    }
  }
  worst = shifted(worst, layer.source_shift);
  if (layer.inputs.size() == 2) {
    worst += shifted(reach_of(tensor_of(model, layer.inputs[1])), layer.residual_shift);
  }
  return worst;
}

void set_shifts(const FixedPointSteps& steps, Layer& layer) {
  const int finest = std::max(steps.product, steps.residual.value_or(steps.product));
  layer.source_shift = finest - steps.product;
  layer.residual_shift = finest - steps.residual.value_or(finest);
  layer.right_shift = finest - steps.output.value_or(finest);
  if (in_range(layer.source_shift) && in_range(layer.residual_shift) &&
      in_range(std::abs(layer.right_shift))) {
    return;
  }
  throw ConfigError(ErrorText{layer.name, cat("scales within 2^", kWidestShift, " of each other"),
                              cat("2^-", steps.product, " into 2^-", steps.output.value_or(finest)),
                              "look for dead or exploding channels with `bitloom sqnr`"});
}

std::string float_objection(const Model& model, const Layer& layer) {
  for (const int input : layer.inputs) {
    const TensorInfo& info = tensor_of(model, input);
    if (info.dtype == DType::kF32) return cat("reals in ", info.name);
  }
  switch (layer.op) {
    case LayerOp::kMaxPool:
    case LayerOp::kAvgPool:
    case LayerOp::kGlobalAvgPool:
    case LayerOp::kConcat:
      return "";  // codes are moved, selected, or averaged by an integer division
    default:
      break;
  }
  if (layer.mode == ComputeMode::kFixedPoint) return "";
  return cat(to_word(layer.op), " of mode ", to_word(layer.mode));
}

void validate_fixed_point(const Model& model, const Layer& layer) {
  const bool product = layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
  require(product || layer.op == LayerOp::kAdd, layer, "conv2d, linear or add in fixed point");
  const TensorInfo& output = tensor_of(model, layer.output);
  const bool is_logits = &output == &model.tensors.back() && output.dtype == DType::kF32;
  FixedPointSteps steps{.product = steps_of(layer, tensor_of(model, layer.inputs[0]))};
  if (product) {
    require_product(layer);
    steps.product += *fractional_bits(layer.weight_scale.data<float>()[0]);
  }
  if (layer.inputs.size() == 2) {
    steps.residual = steps_of(layer, tensor_of(model, layer.inputs[1]));
  }
  if (!is_logits) steps.output = steps_of(layer, output);
  require(!is_logits || (product && layer.inputs.size() == 1 && layer.clip == Clip()), layer,
          "logits of a plain product");
  Layer wanted;
  wanted.name = layer.name;
  set_shifts(steps, wanted);
  require(layer.source_shift == wanted.source_shift &&
              layer.residual_shift == wanted.residual_shift &&
              layer.right_shift == wanted.right_shift,
          layer, "the shifts that its scales give: ", wanted.source_shift, ", ",
          wanted.residual_shift, ", ", wanted.right_shift, ", found ", layer.source_shift, ", ",
          layer.residual_shift, ", ", layer.right_shift);
  require(is_logits || layer.clip_codes == code_range(layer, output), layer,
          "the codes that its clip leaves");
  const std::int64_t worst = worst_sum(model, layer);
  require(worst <= std::numeric_limits<std::int32_t>::max(), layer,
          "sums that fit 32 bits, found a worst case of ", worst,
          "; use fewer weight or activation bits");
}

FixedPointTarget fixed_point_target(const Model& model, const Layer& layer,
                                    ConstTensorView residual, TensorView out) {
  FixedPointTarget target{.channels = out.shape().c(),
                          .source_shift = layer.source_shift,
                          .residual_shift = layer.residual_shift,
                          .right_shift = layer.right_shift,
                          .range = layer.clip_codes,
                          .residual = residual,
                          .out = out};
  if (!layer.bias_s32.empty()) target.bias = layer.bias_s32.data<std::int32_t>();
  if (out.dtype() == DType::kF32) {
    target.step = tensor_of(model, layer.inputs[0]).scale * layer.weight_scale.data<float>()[0];
  }
  return target;
}

void FixedPointTarget::take(std::int64_t index, const std::int32_t* acc) const noexcept {
  const std::int64_t first = index * channels;
  switch (out.dtype()) {
    case DType::kU8:
      return put_codes(*this, acc, first, out.data<std::uint8_t>());
    case DType::kS8:
      return put_codes(*this, acc, first, out.data<std::int8_t>());
    default:
      return put_logits(*this, acc, first, out.data<float>());
  }
}

void add_fixed_point(const Model& model, const Layer& layer, ConstTensorView a,
                     ConstTensorView residual, TensorView out) {
  const FixedPointTarget shifts = fixed_point_target(model, layer, residual, out);
  parallel_for(out.elements(), 4096, [&](std::int64_t begin, std::int64_t end, int) {
    for (std::int64_t i = begin; i < end; ++i) {
      const std::int64_t v = shifted(code_at(a, i), shifts.source_shift) +
                             shifted(code_at(residual, i), shifts.residual_shift);
      const std::int64_t code = std::clamp<std::int64_t>(shift_half_even(v, shifts.right_shift),
                                                         shifts.range.qmin, shifts.range.qmax);
      if (out.dtype() == DType::kU8) {
        out.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(code);
      } else {
        out.data<std::int8_t>()[i] = static_cast<std::int8_t>(code);
      }
    }
  });
}

}  // namespace bitloom::integer
