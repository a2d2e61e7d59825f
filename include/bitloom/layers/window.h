// The sliding window that a graph's node asks for, by its attributes.
// Goes to: layers, quant, deploy.
#pragma once

#include "bitloom/integer/model.h"
#include "bitloom/layers/graph.h"

namespace bitloom::layers {

/// Of conv2d: stride=1, pad=0 above and below, pad_w=pad left and right, groups=1. The kernel is
/// 1x1 here: its sides are the weight's.
/// @throws ConfigError for a pad_w below 0.
integer::Window conv_window(const Node& node);

/// Of max_pool and avg_pool: kernel, stride=kernel, pad=0, count_pad=0.
/// @throws ConfigError without a kernel.
integer::Window pool_window(const Node& node);

/// Of k_map: kernel=1, stride=1, pad=0.
integer::Window box_window(const Node& node);

/// @throws ConfigError unless the attribute is 0 or 1.
bool flag(const Node& node, std::string_view key, bool fallback);

}  // namespace bitloom::layers
