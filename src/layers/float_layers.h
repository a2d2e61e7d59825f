// The float layers' factories, and what they share.
// Goes to: registry.cpp; one .cpp per layer.
#pragma once

#include <memory>
#include <string>

#include "bitloom/integer/model.h"
#include "bitloom/layers/layer.h"

namespace bitloom::layers {

/// input(shape=CxHxW): the images handed to Network::forward, [N, C, H, W] (shape=C: [N, C]).
std::unique_ptr<Layer> make_input(const LayerContext& context);
/// parameter(shape=...): a weight of the store under the node's own name, He-normal when new.
std::unique_ptr<Layer> make_parameter(const LayerContext& context);
/// conv2d(x, weight, stride=1, pad=0, groups=1, bias=0): see kernels/f32_conv2d.h.
std::unique_ptr<Layer> make_conv2d(const LayerContext& context);
/// linear(x, weight, bias=0): see kernels/f32_linear.h.
std::unique_ptr<Layer> make_linear(const LayerContext& context);
/// batch_norm(x, epsilon=1e-5, momentum=0.1): see kernels/f32_batch_norm.h. Training normalizes by
/// the batch and moves the running statistics, running += momentum * (batch - running), the
/// variance unbiased; evaluation normalizes by the running statistics.
std::unique_ptr<Layer> make_batch_norm(const LayerContext& context);
/// relu(x): y = max(x, 0); dx = dy where y > 0.
std::unique_ptr<Layer> make_relu(const LayerContext& context);
/// max_pool(x, kernel, stride=kernel, pad=0): see kernels/f32_pool.h and pool_codes.h.
std::unique_ptr<Layer> make_max_pool(const LayerContext& context);
/// global_avg_pool(x): [N, C, H, W] to [N, C, 1, 1]; see kernels/f32_pool.h and pool_codes.h.
std::unique_ptr<Layer> make_global_avg_pool(const LayerContext& context);
/// add(branch, shortcut): y = branch + shortcut; both gradients are dy.
std::unique_ptr<Layer> make_add(const LayerContext& context);
/// flatten(x): [N, C, H, W] to [N, H*W*C], the same memory.
std::unique_ptr<Layer> make_flatten(const LayerContext& context);

/// @throws ShapeError that names the node if an input carries codes.
void require_reals(const LayerContext& context);
/// @throws ConfigError unless the attribute is 0 or 1.
bool flag(const Node& node, std::string_view key, bool fallback);
/// kernel, stride, pad and groups of a node; stride defaults to `default_stride`.
integer::Window window_of(const Node& node, std::int64_t default_stride);
/// An edge like `source` (type, format and scale) under another shape.
Edge same_kind(const Edge& source, const Shape& shape);

}  // namespace bitloom::layers
