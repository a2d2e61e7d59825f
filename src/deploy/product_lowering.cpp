#include "product_lowering.h"

#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/integer/profile.h"
#include "bitloom/kernels/f32_conv2d.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/fake_quant_layer.h"
#include "bitloom/quant/ttq.h"
#include "fixed_point_lowering.h"
#include "sign.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::Layer;
using integer::LayerOp;
using integer::TensorInfo;
using layers::Node;
using quant::Chain;

// True where tensors between layers are reals: by the method, or because only weights have
// fake_quant nodes (quantization-aware training with activations of 32 bits).
bool keeps_reals(const layers::Graph& graph, const LowerOptions& options) {
  if (options.method != "qat") {
    return options.method == "ptq-dynamic" || options.method == "ptq-weight-only";
  }
  return std::ranges::none_of(graph.nodes(), [&](const Node& node) {
    return quant::is_fake_quant(node) && graph.find(node.inputs[0])->op != "parameter";
  });
}

}  // namespace

ProductLowering::ProductLowering(const layers::Graph& graph, const layers::ParameterStore& store,
                                 const LowerOptions& options, const integer::Model& model)
    : graph_(graph),
      store_(store),
      options_(options),
      model_(model),
      keeps_reals_(keeps_reals(graph, options)),
      integers_only_(!options.profile.empty() &&
                     integer::profile_named(options.profile).integers_only) {}

const Node& ProductLowering::weight_node(const Chain& chain) const {
  return *graph_.find(chain.head->inputs[1]);
}

const Tensor& ProductLowering::weight(const Chain& chain) const {
  const Node& node = weight_node(chain);
  return store_.at(quant::is_fake_quant(node) ? node.inputs[0] : node.name).value;
}

Layer ProductLowering::start(const Chain& chain) const {
  Layer layer;
  layer.name = chain.head->name;
  layer.op = chain.head->op == "linear" ? LayerOp::kLinear : LayerOp::kConv2d;
  layer.clip = chain.bounds();
  if (layer.op == LayerOp::kConv2d) {
    layer.window = layers::conv_window(*chain.head);
    layer.window.kernel_h = weight(chain).shape().h();
    layer.window.kernel_w = weight(chain).shape().w();
  }
  return layer;
}

Shape ProductLowering::output_shape(const Chain& chain, const Shape& source) const {
  const Shape& shape = weight(chain).shape();
  if (chain.head->op == "linear") return Shape{1, shape[0]};
  return kernels::conv2d_output(
      chain.head->name,
      {.source = source, .weight = shape, .window = layers::conv_window(*chain.head)});
}

void ProductLowering::fill(const Chain& chain, const TensorInfo& output, Layer& layer) const {
  const TensorInfo& source = model_.tensors[static_cast<std::size_t>(layer.inputs[0])];
  const bool quantized_weight = quant::is_fake_quant(weight_node(chain));
  const bool real_weights = !quantized_weight && options_.method == "qat";  // end layers of 32 bits
  if (keeps_reals_ && !real_weights) {
    fill_real_source(chain, weight_node(chain), source, layer);
  } else if (quantized_weight != (source.dtype != DType::kF32)) {
    throw ConfigError(
        ErrorText{layer.name, "codes on both inputs, or reals on both",
                  quantized_weight ? "codes only on the weight" : "codes only on the source",
                  "put a fake_quant node on the other input"});
  } else if (quantized_weight) {
    fill_static(chain, weight_node(chain), source, output, layer);
  } else {
    fill_float(chain, weight(chain), layer);
  }
}

// Codes of the weights, their width and their scales.
void ProductLowering::fill_codes(const Node& weight_node, Layer& layer) const {
  const integer::AffineFormat format = quant::format_of(weight_node);
  layer.weight = quant::weight_codes(weight_node, store_);
  layer.weight_bits = format.bits;
  layer.weight_grid = format.grid;
  layer.weight_range = format.range;
  const Tensor& scales = store_.at(quant::scale_name(weight_node)).value;
  layer.weight_scale = Tensor(DType::kF32, Shape{layer.weight.shape()[0]});
  for (std::int64_t o = 0; o < layer.weight_scale.elements(); ++o) {
    layer.weight_scale.data<float>()[o] = scales.data<float>()[scales.elements() > 1 ? o : 0];
  }
}

// m[o] and b[o] of integer/requantize.h.
void ProductLowering::fold(const Chain& chain, integer::ChannelScales scales, Layer& layer) const {
  const std::int64_t channels = layer.weight.shape()[0];
  layer.multiplier = Tensor(DType::kF32, Shape{channels});
  layer.bias = Tensor(DType::kF32, Shape{channels});
  const quant::ChannelAffines affines =
      quant::channel_affines(chain.head->name, chain.batch_norm, store_);
  for (std::int64_t o = 0; o < channels; ++o) {
    scales.weight = static_cast<double>(layer.weight_scale.data<float>()[o]);
    const integer::FoldedChannel folded = integer::fold_channel(scales, affines.at(o));
    layer.multiplier.data<float>()[o] = folded.multiplier;
    layer.bias.data<float>()[o] = folded.bias;
  }
}

// m[o] of the codes -1, where they have a scale of their own (quant/ttq.h).
void ProductLowering::fold_negative(const Chain& chain, const Node& weight_node,
                                    integer::ChannelScales scales, Layer& layer) const {
  if (!quant::has_two_scales(weight_node)) return;
  const std::int64_t channels = layer.weight.shape()[0];
  layer.negative_multiplier = Tensor(DType::kF32, Shape{channels});
  const std::string name = cat(weight_node.name, ".negative_scale");
  const float scale = store_.at(name).value.data<float>()[0];
  if (!(scale > 0.0F)) {
    throw NumericError(ErrorText{name, "a scale above 0", cat(scale),
                                 "train again with a lower train.scale_lr_ratio or train.lr"});
  }
  scales.weight = static_cast<double>(scale);
  const quant::ChannelAffines affines =
      quant::channel_affines(chain.head->name, chain.batch_norm, store_);
  for (std::int64_t o = 0; o < channels; ++o) {
    layer.negative_multiplier.data<float>()[o] =
        integer::fold_channel(scales, affines.at(o)).multiplier;
  }
}

// Dynamic and weight-only layers: m[o] = s_w[o] * slope[o], b[o] = offset[o].
void ProductLowering::fill_real_source(const Chain& chain, const Node& weight_node,
                                       const TensorInfo& source, Layer& layer) const {
  const bool real = source.dtype == DType::kF32 && chain.fake_quant == nullptr;
  if (!real || !quant::is_fake_quant(weight_node)) {
    throw ConfigError(ErrorText{layer.name, cat("codes on the weight alone, for ", options_.method),
                                real ? "reals on the weight" : "codes on an activation",
                                "quantize the float network"});
  }
  fill_codes(weight_node, layer);
  fold(chain, {}, layer);
  fold_negative(chain, weight_node, {}, layer);
  if (options_.method != "ptq-dynamic") {
    layer.mode = ComputeMode::kWeightOnly;
    return;
  }
  layer.mode = ComputeMode::kDynamic;
  const integer::DeviceProfile& profile = integer::profile_named(options_.profile);
  layer.source_format = profile.activations(8, !is_non_negative(model_, layer.inputs[0]));
}

void ProductLowering::fill_static(const Chain& chain, const Node& weight_node,
                                  const TensorInfo& source, const TensorInfo& output,
                                  Layer& layer) const {
  fill_codes(weight_node, layer);
  if (integers_only_) {
    const TensorInfo* residual =
        chain.add == nullptr ? nullptr : &model_.tensors[static_cast<std::size_t>(layer.inputs[1])];
    fill_fixed_point(chain, store_, {source, residual, output}, layer);
    return;
  }
  layer.mode = ComputeMode::kStatic;
  const bool codes_out = output.dtype != DType::kF32;
  const integer::ChannelScales scales{
      .source = static_cast<double>(source.scale),
      .destination = codes_out ? static_cast<double>(output.scale) : 1.0,
      .destination_zero_point = codes_out ? output.format.zero_point : 0};
  fold(chain, scales, layer);
  fold_negative(chain, weight_node, scales, layer);
  if (chain.add != nullptr) {
    const TensorInfo& residual = model_.tensors[static_cast<std::size_t>(layer.inputs[1])];
    layer.residual_ratio = integer::scale_ratio(residual.scale, codes_out ? output.scale : 1.0F);
  }
}

void ProductLowering::fill_float(const Chain& chain, const Tensor& weight, Layer& layer) const {
  const std::int64_t channels = weight.shape()[0];
  const std::int64_t cols = weight.elements() / channels;
  const quant::ChannelAffines affines =
      quant::channel_affines(chain.head->name, chain.batch_norm, store_);
  layer.mode = ComputeMode::kFloat;
  layer.weight = Tensor(DType::kF32, weight.shape());
  layer.bias = Tensor(DType::kF32, Shape{channels});
  for (std::int64_t o = 0; o < channels; ++o) {
    const integer::ChannelAffine affine = affines.at(o);
    for (std::int64_t i = o * cols; i < (o + 1) * cols; ++i) {
      layer.weight.data<float>()[i] =
          static_cast<float>(static_cast<double>(weight.data<float>()[i]) * affine.slope);
    }
    layer.bias.data<float>()[o] = static_cast<float>(affine.offset);
  }
}

}  // namespace bitloom::deploy
