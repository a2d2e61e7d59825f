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

}  // namespace

layers::Graph resnet8(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  builder.conv2d("stem.conv", 16, {.kernel = 3, .pad = 1});
  builder.batch_norm("stem.bn");
  builder.relu("stem.relu");
  basic_block(builder, "block1", 16, 1);
  basic_block(builder, "block2", 32, 2);
  basic_block(builder, "block3", 64, 2);
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
