#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {

layers::Graph lenet5(const NetworkShape& shape) {
  constexpr ConvOptions kConv{.kernel = 5, .pad = 2};
  GraphBuilder builder(shape);
  builder.conv2d("conv1", 32, kConv);
  builder.batch_norm("bn1");
  builder.relu("relu1");
  builder.max_pool("pool1", {});
  builder.conv2d("conv2", 64, kConv);
  builder.batch_norm("bn2");
  builder.relu("relu2");
  builder.max_pool("pool2", {});
  builder.flatten("flatten");
  builder.linear("fc1", 512);
  builder.relu("relu3");
  builder.linear("fc2", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
