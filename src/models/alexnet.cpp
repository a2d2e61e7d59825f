#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {

layers::Graph alexnet(const NetworkShape& shape) {
  constexpr PoolOptions kPool{.kernel = 3, .stride = 2};
  GraphBuilder builder(shape);
  const auto conv = [&](const std::string& name, std::int64_t channels, ConvOptions options) {
    options.bias = true;
    builder.conv2d(name, channels, options);
    builder.relu(name + ".relu");
  };
  conv("conv1", 64,
       is_small(shape) ? ConvOptions{.kernel = 3, .pad = 1}
                       : ConvOptions{.kernel = 11, .stride = 4, .pad = 2});
  builder.max_pool("pool1", kPool);
  conv("conv2", 192, {.kernel = 5, .pad = 2});
  builder.max_pool("pool2", kPool);
  conv("conv3", 384, {.pad = 1});
  conv("conv4", 256, {.pad = 1});
  conv("conv5", 256, {.pad = 1});
  builder.max_pool("pool3", kPool);
  builder.flatten("flatten");
  for (const char* name : {"fc1", "fc2"}) {
    builder.dropout(cat(name, ".dropout"), "0.5");
    builder.linear(name, 4096);
    builder.relu(cat(name, ".relu"));
  }
  builder.linear("fc3", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
