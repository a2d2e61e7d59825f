#include "int8_problem.h"

namespace bitloom::backends {
namespace {

/// What the layer's last step holds t within: codes, or reals where the output is f32.
integer::Clip bounds_of_t(const LayerContext& context) {
  if (context.output().dtype == DType::kF32) return context.layer.clip;
  const integer::CodeRange range = integer::code_range(context.layer, context.output());
  return {.low = static_cast<float>(range.qmin), .high = static_cast<float>(range.qmax)};
}

}  // namespace

bool needs_sums(const LayerContext& context) {
  return context.output().format.grid == integer::Grid::kBinary ||
         integer::has_two_scales(context.layer) ||
         (context.layer.inputs.size() == 2 && context.input(1).dtype == DType::kF32);
}

kernels::Int8Problem int8_problem(const LayerContext& context) {
  const integer::Layer& layer = context.layer;
  const bool residual = layer.inputs.size() == 2;
  return {.source = context.input(0).shape.with_batch(context.batch),
          .source_dtype = context.input(0).dtype,
          .source_zero_point = context.input(0).format.zero_point != 0,
          .weight = layer.weight.shape(),
          .window = layer.window,
          .destination_dtype = context.output().dtype,
          .bias = true,
          .clip = bounds_of_t(context),
          .residual = residual,
          .residual_dtype = residual ? context.input(1).dtype : DType::kU8};
}

}  // namespace bitloom::backends
