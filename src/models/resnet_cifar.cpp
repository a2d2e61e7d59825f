#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

// conv-BN-ReLU-conv-BN, plus the input (by 1x1 convolution and BN where shapes change), ReLU.
void basic_block(GraphBuilder& builder, const std::string& name, std::int64_t channels,
                 std::int64_t stride) {
  const GraphBuilder::Position input = builder.at();
  std::string shortcut = input.node;
  if (stride != 1 || input.channels != channels) {
    builder.conv2d(name + ".shortcut.conv", channels, {.kernel = 1, .stride = stride});
    builder.batch_norm(name + ".shortcut.bn");
    shortcut = builder.at().node;
    builder.move_to(input);
  }
  builder.conv2d(name + ".conv1", channels, {.kernel = 3, .stride = stride, .pad = 1});
  builder.batch_norm(name + ".bn1");
  builder.relu(name + ".relu1");
  builder.conv2d(name + ".conv2", channels, {.kernel = 3, .pad = 1});
  builder.batch_norm(name + ".bn2");
  builder.add(name + ".add", shortcut);
  builder.relu(name + ".relu2");
}

// Stem, three stages of `blocks` basic blocks each, global average pool, FC.
layers::Graph resnet_cifar(const NetworkShape& shape, int blocks) {
  GraphBuilder builder(shape);
  builder.conv2d("stem.conv", 16, {.kernel = 3, .pad = 1});
  builder.batch_norm("stem.bn");
  builder.relu("stem.relu");
  int number = 0;
  for (const std::int64_t channels : {16, 32, 64}) {
    for (int block = 0; block < blocks; ++block) {
      const bool halves = channels != 16 && block == 0;
      basic_block(builder, cat("block", ++number), channels, halves ? 2 : 1);
    }
  }
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace

layers::Graph resnet8(const NetworkShape& shape) { return resnet_cifar(shape, 1); }
layers::Graph resnet20(const NetworkShape& shape) { return resnet_cifar(shape, 3); }
layers::Graph resnet32(const NetworkShape& shape) { return resnet_cifar(shape, 5); }
layers::Graph resnet56(const NetworkShape& shape) { return resnet_cifar(shape, 9); }

}  // namespace bitloom::models
