// The named networks, each a function that builds a graph.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "bitloom/layers/graph.h"

namespace bitloom::models {

/// What a network is fitted to.
struct NetworkShape {
  std::int64_t channels = 1;
  std::int64_t height = 28;
  std::int64_t width = 28;
  std::int64_t classes = 10;
};

/// 32C5(pad 2)-BN-ReLU-MP2-64C5(pad 2)-BN-ReLU-MP2-512FC-ReLU-FC.
layers::Graph lenet5(const NetworkShape& shape);

/// CIFAR-style: 16C3-BN-ReLU, three residual stages of n basic blocks (16, 32, 64 channels, the
/// last two halve the map), global average pool, FC; 6n + 2 weighted layers, n = 1, 3, 5, 9.
/// Source: He et al. 2016, section 4.2 (resnet8: MLPerf Tiny). Ours differs: a shortcut whose shape
/// changes is a 1x1 convolution + BN (their option B), which integers can run.
layers::Graph resnet8(const NetworkShape& shape);
layers::Graph resnet20(const NetworkShape& shape);
layers::Graph resnet32(const NetworkShape& shape);
layers::Graph resnet56(const NetworkShape& shape);

std::vector<std::string> network_names();
/// @throws ConfigError for an unknown name, listing the known ones.
layers::Graph build_network(std::string_view name, const NetworkShape& shape);

}  // namespace bitloom::models
