// Networks in the block orders that signs need: batch norm and hardtanh stand in front of each
// product, so that what is signed has both signs. As float networks they train with hardtanh.
#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

constexpr ConvOptions kConv3{.pad = 1};

// BN-hardtanh, which insert_fake_quant makes BN-sign.
void norm_and_activate(GraphBuilder& builder, const std::string& number) {
  builder.batch_norm("bn" + number);
  builder.hardtanh("act" + number);
}

// What a convolution of Bi-Real's blocks is made of.
struct RealShortcuts {
  bool rectifies = false;  // ReActNet: rprelu behind each add
};

// hardtanh-conv3x3-BN, plus its input: by average pooling over the convolution's windows and twice
// the channels where shapes change, so that the shortcut has no weights.
void bireal_layer(GraphBuilder& builder, const std::string& block, const std::string& number,
                  std::int64_t channels, std::int64_t stride, const RealShortcuts& design) {
  const GraphBuilder::Position input = builder.at();
  builder.hardtanh(cat(block, ".act", number));
  builder.conv2d(cat(block, ".conv", number), channels, {.stride = stride, .pad = 1});
  builder.batch_norm(cat(block, ".bn", number));
  const GraphBuilder::Position output = builder.at();
  // Behind the convolution: backward, a pool writes its gradient first, to which a sign adds.
  builder.move_to(input);
  if (stride != 1) {
    builder.avg_pool(block + ".shortcut.pool", {.kernel = 3, .stride = stride, .pad = 1});
  }
  if (input.channels != channels) builder.concat(block + ".shortcut.concat", builder.at());
  const std::string shortcut = builder.at().node;
  builder.move_to(output);
  builder.add(cat(block, ".add", number), shortcut);
  if (design.rectifies) builder.rprelu(cat(block, ".rprelu", number));
}

void bireal_block(GraphBuilder& builder, const std::string& name, std::int64_t channels,
                  std::int64_t stride, const RealShortcuts& design) {
  bireal_layer(builder, name, "1", channels, stride, design);
  bireal_layer(builder, name, "2", channels, 1, design);
}

layers::Graph finish(GraphBuilder& builder, const NetworkShape& shape) {
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

layers::Graph resnet20_of(const NetworkShape& shape, const RealShortcuts& design) {
  GraphBuilder builder(shape);
  builder.conv_bn("stem", 16, kConv3);
  int number = 0;
  for (const std::int64_t channels : {16, 32, 64}) {
    for (int block = 0; block < 3; ++block) {
      const bool halves = channels != 16 && block == 0;
      bireal_block(builder, cat("block", ++number), channels, halves ? 2 : 1, design);
    }
  }
  return finish(builder, shape);
}

}  // namespace

layers::Graph mlp_bnn(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  builder.flatten("flatten");
  for (const char* number : {"1", "2", "3"}) {
    builder.linear(cat("fc", number), 4096, false);
    norm_and_activate(builder, number);
  }
  builder.linear("fc4", shape.classes, false);
  builder.batch_norm("bn4");
  return builder.take();
}

layers::Graph lenet5_binary(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  builder.conv2d("conv1", 32, {.kernel = 5, .pad = 2});
  builder.max_pool("pool1", {});
  norm_and_activate(builder, "1");
  builder.conv2d("conv2", 64, {.kernel = 5, .pad = 2});
  builder.max_pool("pool2", {});
  norm_and_activate(builder, "2");
  builder.flatten("flatten");
  builder.linear("fc1", 512, false);
  norm_and_activate(builder, "3");
  builder.linear("fc2", shape.classes);
  return builder.take();
}

layers::Graph vgg_small_xnor(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  int number = 0;
  int pools = 0;
  for (const std::int64_t channels : {128, 256, 512}) {
    for (const bool pools_behind : {false, true}) {
      builder.conv2d(cat("conv", ++number), channels, kConv3);
      if (pools_behind) builder.max_pool(cat("pool", ++pools), {});
      norm_and_activate(builder, std::to_string(number));
    }
  }
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

layers::Graph resnet20_bireal(const NetworkShape& shape) { return resnet20_of(shape, {}); }

layers::Graph resnet20_react(const NetworkShape& shape) {
  return resnet20_of(shape, {.rectifies = true});
}

layers::Graph resnet18_bireal(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  if (is_small(shape)) {
    builder.conv_bn("stem", 64, kConv3);
  } else {
    builder.conv_bn("stem", 64, {.kernel = 7, .stride = 2, .pad = 3});
    builder.max_pool("stem.pool", {.kernel = 3, .stride = 2, .pad = 1});
  }
  std::int64_t channels = 64;
  for (int stage = 0; stage < 4; ++stage, channels *= 2) {
    for (int block = 0; block < 2; ++block) {
      bireal_block(builder, cat("layer", stage + 1, ".", block), channels,
                   stage > 0 && block == 0 ? 2 : 1, {});
    }
  }
  return finish(builder, shape);
}

}  // namespace bitloom::models
