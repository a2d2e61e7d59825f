#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

struct FireChannels {
  std::int64_t squeeze = 0;
  std::int64_t expand = 0;  // of each of the two expanding convolutions
};

void conv_relu(GraphBuilder& builder, const std::string& name, std::int64_t channels,
               ConvOptions options) {
  options.bias = true;
  builder.conv2d(name + ".conv", channels, options);
  builder.relu(name + ".relu");
}

void fire(GraphBuilder& builder, const std::string& name, const FireChannels& channels) {
  conv_relu(builder, name + ".squeeze", channels.squeeze, {.kernel = 1});
  const GraphBuilder::Position squeezed = builder.at();
  conv_relu(builder, name + ".expand1x1", channels.expand, {.kernel = 1});
  const GraphBuilder::Position expanded = builder.at();
  builder.move_to(squeezed);
  conv_relu(builder, name + ".expand3x3", channels.expand, {.pad = 1});
  builder.concat(name + ".concat", expanded);
}

}  // namespace

layers::Graph squeezenet1_1(const NetworkShape& shape) {
  constexpr PoolOptions kPool{.kernel = 3, .stride = 2};
  GraphBuilder builder(shape);
  if (is_small(shape)) {
    conv_relu(builder, "stem", 64, {.pad = 1});
  } else {
    conv_relu(builder, "stem", 64, {.stride = 2});
    builder.max_pool("stem.pool", kPool);
  }
  fire(builder, "fire2", {.squeeze = 16, .expand = 64});
  fire(builder, "fire3", {.squeeze = 16, .expand = 64});
  builder.max_pool("fire3.pool", kPool);
  fire(builder, "fire4", {.squeeze = 32, .expand = 128});
  fire(builder, "fire5", {.squeeze = 32, .expand = 128});
  builder.max_pool("fire5.pool", kPool);
  fire(builder, "fire6", {.squeeze = 48, .expand = 192});
  fire(builder, "fire7", {.squeeze = 48, .expand = 192});
  fire(builder, "fire8", {.squeeze = 64, .expand = 256});
  fire(builder, "fire9", {.squeeze = 64, .expand = 256});
  builder.dropout("classifier.dropout", "0.5");
  conv_relu(builder, "classifier", shape.classes, {.kernel = 1});
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  return builder.take();
}

}  // namespace bitloom::models
