// The float layers' factories, and what they share.
// Goes to: registry.cpp; one .cpp per layer.
#pragma once

#include <memory>
#include <string>

#include "bitloom/integer/model.h"
#include "bitloom/layers/layer.h"
#include "bitloom/layers/window.h"

namespace bitloom::layers {

/// input(shape=CxHxW): the images handed to Network::forward, [N, C, H, W] (shape=C: [N, C]).
std::unique_ptr<Layer> make_input(const LayerContext& context);
/// parameter(shape=...): a weight of the store under the node's own name, He-normal when new.
std::unique_ptr<Layer> make_parameter(const LayerContext& context);
/// conv2d(x, weight, stride=1, pad=0, pad_w=pad, groups=1, bias=0): `pad` above and below, `pad_w`
/// left and right; see kernels/f32_conv2d.h.
std::unique_ptr<Layer> make_conv2d(const LayerContext& context);
/// linear(x, weight, bias=0): see kernels/f32_linear.h.
std::unique_ptr<Layer> make_linear(const LayerContext& context);
/// batch_norm(x, epsilon=1e-5, momentum=0.1, frozen=0): see layers/fused_chain.h and
/// channel_norm.h.
std::unique_ptr<Layer> make_batch_norm(const LayerContext& context);
/// fused(x [, shortcut], norm=B, low=0, ...): batch norm, add and clip in one;
/// layers/fused_chain.h.
std::unique_ptr<Layer> make_fused(const LayerContext& context);
/// relu(x): y = max(x, 0); dx = dy where y > 0.
std::unique_ptr<Layer> make_relu(const LayerContext& context);
/// relu6(x): y = min(max(x, 0), 6); dx = dy where 0 < y < 6.
/// Source: Howard et al., "MobileNets", arXiv:1704.04861 (as its published networks use it).
std::unique_ptr<Layer> make_relu6(const LayerContext& context);
/// hardtanh(x, low=-1, high=1): y = min(max(x, low), high); dx = dy where low < y < high.
/// @throws ConfigError unless low < high.
std::unique_ptr<Layer> make_hardtanh(const LayerContext& context);
/// shift_batch_norm(x, epsilon=1e-5, momentum=0.1): see kernels/shift_batch_norm.h; parameters and
/// running statistics are batch_norm's.
std::unique_ptr<Layer> make_shift_batch_norm(const LayerContext& context);
/// prelu(x): y = x if x > 0, else slope[c] * x. Parameters: "<node>.slope" [C], 0.25 at first.
/// Source: He et al., "Delving Deep into Rectifiers", arXiv:1502.01852, equation 1.
std::unique_ptr<Layer> make_prelu(const LayerContext& context);
/// rprelu(x), with v = x - threshold[c]: y = (v if v > 0, else slope[c] * v) + offset[c].
/// Parameters: "<node>.slope", ".threshold", ".offset" [C], at first 0.25, 0, 0.
/// Source: Liu et al., "ReActNet", arXiv:2003.03488, equation 5. See kernels/channel_layers.h.
std::unique_ptr<Layer> make_rprelu(const LayerContext& context);
/// k_map(x, kernel=1, stride=1, pad=0): the mean over channels of |x|, averaged by the kernel's
/// box; padding counts as 0. [N, C, H, W] to [N, 1, H', W']; [N, C] to [N, 1]. Gradient: the chain
/// rule, through |x| (0 at 0). Source: Rastegari et al., "XNOR-Net", arXiv:1603.05279, section 3.2
/// (K).
std::unique_ptr<Layer> make_k_map(const LayerContext& context);
/// scale_map(y, k): y[n, o, h, w] * k[n, 0, h, w]; [N, O] times [N, 1]. XNOR-Net's equation 11.
std::unique_ptr<Layer> make_scale_map(const LayerContext& context);
/// max_pool(x, kernel, stride=kernel, pad=0): see kernels/f32_pool.h and pool_codes.h.
std::unique_ptr<Layer> make_max_pool(const LayerContext& context);
/// avg_pool(x, kernel, stride=kernel, pad=0, count_pad=0, repeat=1): padding is left out of sum and
/// count, or counts as pixels of 0; the means stand `repeat` times side by side along the channels.
/// See kernels/average_pool.h and pool_codes.h.
std::unique_ptr<Layer> make_avg_pool(const LayerContext& context);
/// global_avg_pool(x): [N, C, H, W] to [N, C, 1, 1]; see kernels/average_pool.h and pool_codes.h.
std::unique_ptr<Layer> make_global_avg_pool(const LayerContext& context);
/// add(branch, shortcut): y = branch + shortcut; both gradients are dy.
std::unique_ptr<Layer> make_add(const LayerContext& context);
/// concat(a, b, ...): inputs side by side along their channels, in their order: reals, or codes of
/// one grid. Each gradient is its part of dy. Shapes: [N, C1, H, W], [N, C2, H, W], ... to
/// [N, C1 + C2 + ..., H, W], or rank 2.
/// @throws ShapeError if inputs differ in more than channels, or carry codes of different grids.
std::unique_ptr<Layer> make_concat(const LayerContext& context);
/// dropout(x, ratio=0.5): in training y = x / (1 - ratio) or, with probability ratio, 0; dx the
/// same function of dy. In evaluation y = x. Which elements drop depends on (seed of the store,
/// node name, step) alone; the parameter "<node>.step" counts the training steps. Codes stay on
/// their grid: dropped ones become the zero point, the factor goes to the edge's scale.
/// Source: Srivastava et al., "Dropout", JMLR 15 (2014), in the inverted form.
/// @throws ConfigError unless 0 <= ratio < 1.
std::unique_ptr<Layer> make_dropout(const LayerContext& context);
/// flatten(x): [N, C, H, W] to [N, H*W*C], the same memory.
std::unique_ptr<Layer> make_flatten(const LayerContext& context);

/// @throws ShapeError that names the node if an input carries codes.
void require_reals(const LayerContext& context);
/// An edge like `source` (type, format and scale) under another shape.
Edge same_kind(const Edge& source, const Shape& shape);

}  // namespace bitloom::layers
