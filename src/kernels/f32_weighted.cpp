#include "f32_weighted.h"

#include <algorithm>

namespace bitloom::kernels {

PreparedPrimitive make_reorder(const dnnl::memory::desc& from, const dnnl::memory::desc& to) {
  if (from == to) return {};
  const dnnl::reorder::primitive_desc pd(engine(), from, engine(), to, user_scratchpad());
  return PreparedPrimitive::make<dnnl::reorder>(pd, {{DNNL_ARG_FROM, from}, {DNNL_ARG_TO, to}});
}

std::size_t WeightedPrimitive::scratch_bytes() const {
  return aligned(weight_bytes) + std::max(primitive.scratchpad_bytes(), reorder.scratchpad_bytes());
}

const void* WeightedPrimitive::own_weights(ConstTensorView master, std::byte* scratch) {
  if (!reorder) return master.raw();
  reorder.run({master.raw(), scratch}, scratchpad(scratch));
  return scratch;
}

std::byte* WeightedPrimitive::scratchpad(std::byte* scratch) const {
  return scratch + aligned(weight_bytes);
}

std::size_t F32Weighted::scratch_bytes() const {
  return std::max({forward_.scratch_bytes(), backward_data_.scratch_bytes(),
                   backward_weights_.scratch_bytes()});
}

void F32Weighted::forward(ConstTensorView source, ConstTensorView weight, ConstTensorView bias,
                          TensorView destination, std::byte* scratch) {
  const void* own = forward_.own_weights(weight, scratch);
  forward_.primitive.run({source.raw(), own, destination.raw(), bias.raw()},
                         forward_.scratchpad(scratch));
}

void F32Weighted::backward_data(ConstTensorView destination_gradient, ConstTensorView weight,
                                TensorView source_gradient, std::byte* scratch) {
  const void* own = backward_data_.own_weights(weight, scratch);
  backward_data_.primitive.run({destination_gradient.raw(), own, source_gradient.raw()},
                               backward_data_.scratchpad(scratch));
}

void F32Weighted::backward_weights(ConstTensorView source, ConstTensorView destination_gradient,
                                   TensorView weight_gradient, TensorView bias_gradient,
                                   std::byte* scratch) {
  WeightedPrimitive& direction = backward_weights_;
  void* own = direction.reorder ? scratch : weight_gradient.raw();
  std::byte* scratchpad = direction.scratchpad(scratch);
  direction.primitive.run({source.raw(), destination_gradient.raw(), own, bias_gradient.raw()},
                          scratchpad);
  if (direction.reorder) direction.reorder.run({own, weight_gradient.raw()}, scratchpad);
}

std::string F32Weighted::implementation() const {
  std::string out;
  const auto append = [&](const char* direction, const PreparedPrimitive& primitive) {
    if (primitive) out += cat(out.empty() ? "" : ", ", direction, " ", primitive.implementation());
  };
  append("forward", forward_.primitive);
  append("backward-data", backward_data_.primitive);
  append("backward-weights", backward_weights_.primitive);
  return out;
}

}  // namespace bitloom::kernels
