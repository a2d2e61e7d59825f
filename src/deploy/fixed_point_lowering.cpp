#include "fixed_point_lowering.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>

#include "bitloom/core/error.h"
#include "bitloom/integer/fixed_point.h"
#include "bitloom/quant/batch_norm_passes.h"

namespace bitloom::deploy {
namespace {

using integer::Layer;
using integer::TensorInfo;

[[noreturn]] void refuse(const std::string& place, const char* expected, std::string found,
                         const char* remedy) {
  throw ConfigError(
      ErrorText{place, cat(expected, " in profile fixed-point"), std::move(found), remedy});
}

int step_of(const std::string& place, float scale) {
  const std::optional<int> bits = integer::fractional_bits(scale);
  if (!bits) {
    refuse(place, "a scale that is a power of two", cat(scale), "set quant.power_of_two = true");
  }
  return *bits;
}

int step_of(const TensorInfo& info) {
  if (info.dtype == DType::kF32) refuse(info.name, "codes", "reals", "quantize every layer");
  if (info.format.zero_point != 0) {
    refuse(info.name, "no zero point", cat(info.format.zero_point), "set quant.asymmetric = false");
  }
  return step_of(info.name, info.scale);
}

int step_of_weights(const Layer& layer) {
  const auto scales = layer.weight_scale.span<float>();
  if (std::ranges::any_of(scales, [&](float scale) { return scale != scales[0]; })) {
    refuse(layer.name, "one scale for the weights of a layer", "one a channel",
           "set quant.per_channel = false");
  }
  return step_of(layer.name, scales[0]);
}

void set_shifts(const FixedPointTensors& tensors, int product, Layer& layer) {
  integer::FixedPointSteps steps{.product = product};
  if (tensors.residual != nullptr) steps.residual = step_of(*tensors.residual);
  if (tensors.output.dtype != DType::kF32) steps.output = step_of(tensors.output);
  integer::set_shifts(steps, layer);
  if (steps.output) layer.clip_codes = integer::code_range(layer, tensors.output);
}

}  // namespace

void fill_fixed_point(const quant::Chain& chain, const layers::ParameterStore& store,
                      const FixedPointTensors& tensors, Layer& layer) {
  if (chain.batch_norm != nullptr) {
    refuse(layer.name, "batch norm folded into the weights", chain.batch_norm->name,
           "set quant.fold_batch_norm = true");
  }
  layer.mode = integer::ComputeMode::kFixedPoint;
  const int product = step_of(tensors.source) + step_of_weights(layer);
  const quant::ChannelAffines affines = quant::channel_affines(chain.head->name, nullptr, store);
  const std::int64_t channels = layer.weight.shape()[0];
  layer.bias_s32 = Tensor(DType::kS32, Shape{channels});
  for (std::int64_t o = 0; o < channels; ++o) {
    const double bias = std::nearbyint(std::ldexp(affines.at(o).offset, product));
    if (!(std::abs(bias) < static_cast<double>(std::numeric_limits<std::int32_t>::max()))) {
      refuse(layer.name, "a bias of 32 bits on the grid of its sums", cat(bias),
             "look for exploding channels with `bitloom inspect`");
    }
    layer.bias_s32.data<std::int32_t>()[o] = static_cast<std::int32_t>(bias);
  }
  set_shifts(tensors, product, layer);
}

void fill_fixed_point_add(const FixedPointTensors& tensors, Layer& layer) {
  layer.mode = integer::ComputeMode::kFixedPoint;
  set_shifts(tensors, step_of(tensors.source), layer);
}

void require_integers_only(const integer::Model& model) {
  for (const Layer& layer : model.layers) {
    const std::string objection = integer::float_objection(model, layer);
    if (!objection.empty()) refuse(layer.name, "integers alone", objection, "quantize every layer");
  }
}

}  // namespace bitloom::deploy
