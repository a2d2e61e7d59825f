#include "float_layers.h"

#include "bitloom/core/error.h"

namespace bitloom::layers {

LayerRegistry float_layers() {
  return {
      {"input", {make_input, 0, {"shape"}}},
      {"parameter", {make_parameter, 0, {"shape"}}},
      {"conv2d", {make_conv2d, 2, {"stride", "pad", "pad_w", "groups", "bias"}}},
      {"linear", {make_linear, 2, {"bias"}}},
      {"batch_norm", {make_batch_norm, 1, {"epsilon", "momentum", "frozen"}}},
      {"fused",
       {make_fused,
        1,
        {"norm", "epsilon", "momentum", "norm_frozen", "rectifier", "low", "high"},
        true}},
      {"relu", {make_relu, 1, {}}},
      {"relu6", {make_relu6, 1, {}}},
      {"hardtanh", {make_hardtanh, 1, {"low", "high"}}},
      {"shift_batch_norm", {make_shift_batch_norm, 1, {"epsilon", "momentum"}}},
      {"prelu", {make_prelu, 1, {}}},
      {"rprelu", {make_rprelu, 1, {}}},
      {"k_map", {make_k_map, 1, {"kernel", "stride", "pad"}}},
      {"scale_map", {make_scale_map, 2, {}}},
      {"max_pool", {make_max_pool, 1, {"kernel", "stride", "pad"}}},
      {"avg_pool", {make_avg_pool, 1, {"kernel", "stride", "pad", "count_pad", "repeat"}}},
      {"global_avg_pool", {make_global_avg_pool, 1, {}}},
      {"add", {make_add, 2, {}}},
      {"concat", {make_concat, 2, {}, true}},
      {"dropout", {make_dropout, 1, {"ratio"}}},
      {"flatten", {make_flatten, 1, {}}},
  };
}

void Layer::carry(Layer& /*reader*/) {
  throw ConfigError("a layer that another one carries stands behind batch_norm or fused");
}

void require_reals(const LayerContext& context) {
  for (std::size_t i = 0; i < context.inputs.size(); ++i) {
    const DType dtype = context.inputs[i].dtype;
    if (dtype == DType::kF32) continue;
    throw ShapeError({.place = context.node.name,
                      .expected = cat("reals (f32) from ", context.node.inputs[i]),
                      .found = cat("codes (", to_word(dtype), ")"),
                      .remedy = ""});
  }
}

Edge same_kind(const Edge& source, const Shape& shape) {
  Edge out = source;
  out.shape = shape;
  out.gradient_factor = nullptr;  // the source's own backward asks for it, not this layer's
  return out;
}

}  // namespace bitloom::layers
