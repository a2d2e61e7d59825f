#include "plain_lowering.h"

#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::deploy {

using integer::ComputeMode;
using integer::Layer;
using integer::LayerOp;
using integer::TensorInfo;
using layers::Node;

namespace {

ComputeMode mode_without_weights(const TensorInfo& source) {
  return source.dtype == DType::kF32 ? ComputeMode::kFloat : ComputeMode::kStatic;
}

void require_grid(const Node& node, const TensorInfo& found, const TensorInfo& wanted) {
  if (found.dtype == wanted.dtype && found.format == wanted.format && found.scale == wanted.scale) {
    return;
  }
  throw ConfigError(ErrorText{node.name, cat("the grid of ", wanted.name),
                              "another scale, range or zero point",
                              "let its fake_quant node share the other's (share=NODE)"});
}

/// @pre the pool's tensor is the next one to come.
void round_in_average(ModelDraft& draft, const Node& node, const TensorInfo& tensor) {
  if (tensor.dtype == DType::kF32) return;
  const Node* quantizer = draft.quantizer_behind(node.name);
  if (quantizer == nullptr) {
    throw ConfigError(ErrorText{node.name, "a fake_quant node behind a quantized average", "none",
                                "insert one with share= its source's"});
  }
  require_grid(*quantizer, draft.describe(node.name, tensor.shape, quantizer), tensor);
  draft.share(quantizer->name, draft.next_index());
}

}  // namespace

void add_input(ModelDraft& draft, const Node& node, ConstTensorView normalization) {
  const Node* quantizer = draft.quantizer_behind(node.name);
  const TensorInfo tensor = draft.describe(node.name, node.shape("shape"), quantizer);
  if (normalization.shape() != Shape{tensor.shape.c(), 256}) {
    throw ShapeError(ErrorText{node.name, to_string(Shape{tensor.shape.c(), 256}),
                               to_string(normalization.shape()),
                               "the data have another channel count"});
  }
  Tensor& table = draft.model().input_table;
  table = Tensor(tensor.dtype, normalization.shape());
  if (quantizer == nullptr) {
    copy(normalization, table);
  } else {
    kernels::quantize(normalization.data<float>(),
                      {.rows = 1,
                       .cols = normalization.elements(),
                       .scale = &tensor.scale,
                       .scale_per_row = false,
                       .format = tensor.format},
                      table.raw());
    draft.share(quantizer->name, 0);
  }
  draft.add_tensor(tensor, node.name);
}

void add_pool(ModelDraft& draft, const Node& node, Tensor lowest) {
  TensorInfo tensor = draft.info(node.inputs[0]);
  Layer layer;
  layer.name = node.name;
  layer.inputs = {draft.index(node.inputs[0])};
  layer.mode = mode_without_weights(tensor);
  layer.lowest = std::move(lowest);
  tensor.name = node.name;
  if (node.op == "global_avg_pool") {
    layer.op = LayerOp::kGlobalAvgPool;
    tensor.shape = Shape{1, tensor.shape.c(), 1, 1};
  } else {
    layer.op = node.op == "max_pool" ? LayerOp::kMaxPool : LayerOp::kAvgPool;
    layer.window = layers::pool_window(node);
    tensor.shape = kernels::pool_output(node.name, tensor.shape, layer.window);
  }
  if (layer.op != LayerOp::kMaxPool) round_in_average(draft, node, tensor);
  draft.add_layer(std::move(layer), std::move(tensor), node.name);
}

void add_concat(ModelDraft& draft, const Node& node) {
  Layer layer;
  layer.name = node.name;
  layer.op = LayerOp::kConcat;
  TensorInfo tensor = draft.info(node.inputs[0]);
  std::int64_t channels = 0;
  for (const std::string& name : node.inputs) {
    layer.inputs.push_back(draft.index(name));
    const TensorInfo& input = draft.info(name);
    if (tensor.dtype != DType::kF32 || input.dtype != DType::kF32) {
      require_grid(node, input, draft.info(node.inputs[0]));
    }
    channels += input.shape.c();
  }
  layer.mode = mode_without_weights(tensor);
  tensor.name = node.name;
  tensor.shape = Shape{1, channels, tensor.shape.h(), tensor.shape.w()};
  draft.add_layer(std::move(layer), std::move(tensor), node.name);
}

}  // namespace bitloom::deploy
