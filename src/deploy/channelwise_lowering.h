// Layers that compute channel by channel: batch norms and quantizers that no product holds,
// rectifiers, and XNOR-Net's map of magnitudes.
// Goes to: lower.cpp.
#pragma once

#include "bitloom/integer/model.h"
#include "bitloom/layers/graph.h"
#include "bitloom/layers/parameter.h"
#include "bitloom/quant/chain.h"

namespace bitloom::deploy {

/// batch_norm? > relu|relu6|hardtanh? > fake_quant? behind a value that no product's chain holds:
/// one `affine` layer. At least one of batch norm and quantizer is there.
struct ChannelChain {
  const layers::Node* batch_norm = nullptr;
  const layers::Node* clip = nullptr;
  const layers::Node* fake_quant = nullptr;
  const layers::Node* end = nullptr;
  std::vector<const layers::Node*> nodes;
};

/// The chain that starts at a batch_norm or fake_quant node; each node but the last is read by the
/// next alone.
ChannelChain channel_chain(const layers::Graph& graph, const layers::Node& start);

/// Its layer, without inputs and output. m[c] = s_x * slope[c] / s_y and b[c] = (offset[c] - t[c])
/// / s_y + z_y, in double, rounded once; t are an rsign quantizer's thresholds.
/// @pre `source` and `output` are what the layer reads and writes.
integer::Layer affine_layer(const ChannelChain& chain, const layers::ParameterStore& store,
                            const integer::TensorInfo& source, const integer::TensorInfo& output);

/// Takes the thresholds of an rsign quantizer at the end of a product's chain into the layer's
/// bias.
void subtract_thresholds(const quant::Chain& chain, const layers::ParameterStore& store,
                         integer::Layer& layer);

/// prelu and rprelu.
integer::Layer prelu_layer(const layers::Node& node, const layers::ParameterStore& store);

/// k_map, and the shape of its output: [1, 1] of a flat source, and of what stands behind flatten,
/// whose tensor keeps its shape [1, C, H, W] in an exported model.
integer::Layer k_map_layer(const layers::Node& node);
Shape k_map_output(const layers::Graph& graph, const layers::Node& node, const Shape& source);

/// product > max_pool > batch_norm > fake_quant(grid=binary), each read by the next alone: signs
/// commute with the pool, so the batch norm and the sign go to the product and the pool works on
/// bits. nullptr members where the graph is not so.
struct PooledSigns {
  const layers::Node* pool = nullptr;
  const layers::Node* batch_norm = nullptr;
  const layers::Node* fake_quant = nullptr;
};
PooledSigns pooled_signs(const layers::Graph& graph, const quant::Chain& chain);

/// Channels in which the batch norm falls, u8 [C] of 0 and 1; empty if there are none.
Tensor falling_channels(const layers::Node& batch_norm, const layers::ParameterStore& store);

}  // namespace bitloom::deploy
