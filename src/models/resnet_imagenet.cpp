#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

struct Block {
  std::int64_t channels = 0;  // of its 3x3 convolutions
  std::int64_t stride = 1;
};

// conv3x3-BN-ReLU-conv3x3-BN.
void basic_branch(GraphBuilder& builder, const std::string& name, const Block& block) {
  builder.conv2d(name + ".conv1", block.channels, {.stride = block.stride, .pad = 1});
  builder.batch_norm(name + ".bn1");
  builder.relu(name + ".relu1");
  builder.conv2d(name + ".conv2", block.channels, {.pad = 1});
  builder.batch_norm(name + ".bn2");
}

// conv1x1-BN-ReLU-conv3x3-BN-ReLU-conv1x1-BN; the stride is the 3x3's.
void bottleneck_branch(GraphBuilder& builder, const std::string& name, const Block& block) {
  builder.conv2d(name + ".conv1", block.channels, {.kernel = 1});
  builder.batch_norm(name + ".bn1");
  builder.relu(name + ".relu1");
  builder.conv2d(name + ".conv2", block.channels, {.stride = block.stride, .pad = 1});
  builder.batch_norm(name + ".bn2");
  builder.relu(name + ".relu2");
  builder.conv2d(name + ".conv3", 4 * block.channels, {.kernel = 1});
  builder.batch_norm(name + ".bn3");
}

struct Design {
  void (*branch)(GraphBuilder&, const std::string&, const Block&);
  std::int64_t widening = 1;  // outputs of a block over the channels of its 3x3 convolutions
  int blocks[4] = {};         // of each stage
};

void residual_block(GraphBuilder& builder, const std::string& name, const Block& block,
                    const Design& design) {
  const GraphBuilder::Position input = builder.at();
  const std::int64_t outputs = design.widening * block.channels;
  std::string shortcut = input.node;
  if (block.stride != 1 || input.channels != outputs) {
    builder.conv_bn(name + ".shortcut", outputs, {.kernel = 1, .stride = block.stride});
    shortcut = builder.at().node;
    builder.move_to(input);
  }
  design.branch(builder, name, block);
  builder.add(name + ".add", shortcut);
  builder.relu(name + ".relu");
}

layers::Graph resnet(const NetworkShape& shape, const Design& design) {
  GraphBuilder builder(shape);
  if (is_small(shape)) {
    builder.conv_bn_relu("stem", 64, {.pad = 1});
  } else {
    builder.conv_bn_relu("stem", 64, {.kernel = 7, .stride = 2, .pad = 3});
    builder.max_pool("stem.pool", {.kernel = 3, .stride = 2, .pad = 1});
  }
  std::int64_t channels = 64;
  for (int stage = 0; stage < 4; ++stage, channels *= 2) {
    for (int block = 0; block < design.blocks[stage]; ++block) {
      residual_block(builder, cat("layer", stage + 1, ".", block),
                     {.channels = channels, .stride = stage > 0 && block == 0 ? 2 : 1}, design);
    }
  }
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace

layers::Graph resnet18(const NetworkShape& shape) {
  return resnet(shape, {.branch = basic_branch, .blocks = {2, 2, 2, 2}});
}

layers::Graph resnet50(const NetworkShape& shape) {
  return resnet(shape, {.branch = bottleneck_branch, .widening = 4, .blocks = {3, 4, 6, 3}});
}

layers::Graph resnet101(const NetworkShape& shape) {
  return resnet(shape, {.branch = bottleneck_branch, .widening = 4, .blocks = {3, 4, 23, 3}});
}

layers::Graph resnet152(const NetworkShape& shape) {
  return resnet(shape, {.branch = bottleneck_branch, .widening = 4, .blocks = {3, 8, 36, 3}});
}

}  // namespace bitloom::models
