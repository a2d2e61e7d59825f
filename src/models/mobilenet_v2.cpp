#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

// A row of the paper's table 2.
struct Stage {
  std::int64_t expansion = 1;
  std::int64_t channels = 0;
  int blocks = 1;
  std::int64_t stride = 1;  // of its first block
};

constexpr Stage kStages[] = {{1, 16, 1, 1}, {6, 24, 2, 2},  {6, 32, 3, 2}, {6, 64, 4, 2},
                             {6, 96, 3, 1}, {6, 160, 3, 2}, {6, 320, 1, 1}};

void conv_bn_relu6(GraphBuilder& builder, const std::string& name, std::int64_t channels,
                   const ConvOptions& options) {
  builder.conv_bn(name, channels, options);
  builder.relu6(name + ".relu");
}

struct Bottleneck {
  std::int64_t expansion = 1;
  std::int64_t channels = 0;
  std::int64_t stride = 1;
};

// Expand (left out where the expansion is 1), depthwise, project without a nonlinearity.
void inverted_residual(GraphBuilder& builder, const std::string& name, const Bottleneck& block) {
  const GraphBuilder::Position input = builder.at();
  const std::int64_t hidden = input.channels * block.expansion;
  if (block.expansion != 1) {
    conv_bn_relu6(builder, name + ".expand", hidden, {.kernel = 1});
  }
  conv_bn_relu6(builder, name + ".depthwise", hidden,
                {.stride = block.stride, .pad = 1, .groups = hidden});
  builder.conv_bn(name + ".project", block.channels, {.kernel = 1});
  if (block.stride == 1 && block.channels == input.channels) {
    builder.add(name + ".add", input.node);
  }
}

}  // namespace

layers::Graph mobilenet_v2(const NetworkShape& shape) {
  const bool small = is_small(shape);
  GraphBuilder builder(shape);
  conv_bn_relu6(builder, "stem", 32, {.stride = small ? 1 : 2, .pad = 1});
  int number = 0;
  for (const Stage& stage : kStages) {
    const bool keeps_map = small && stage.channels == 24;
    for (int block = 0; block < stage.blocks; ++block) {
      const std::int64_t stride = block == 0 && !keeps_map ? stage.stride : 1;
      inverted_residual(
          builder, cat("block", ++number),
          {.expansion = stage.expansion, .channels = stage.channels, .stride = stride});
    }
  }
  conv_bn_relu6(builder, "head", 1280, {.kernel = 1});
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.dropout("dropout", "0.2");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
