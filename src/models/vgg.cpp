#include <algorithm>

#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

/// `deep`: convolutions of each of the last three stages; the first two have two.
layers::Graph vgg(const NetworkShape& shape, int deep) {
  GraphBuilder builder(shape);
  int stage = 0;
  for (const std::int64_t channels : {64, 128, 256, 512, 512}) {
    const int convolutions = ++stage <= 2 ? 2 : deep;
    for (int k = 1; k <= convolutions; ++k) {
      const std::string name = cat("conv", stage, "_", k);
      builder.conv2d(name, channels, {.pad = 1, .bias = true});
      builder.relu(name + ".relu");
    }
    const bool fits = std::min(builder.at().height, builder.at().width) >= 2;
    if (fits) builder.max_pool(cat("pool", stage), {});
  }
  builder.flatten("flatten");
  for (const char* name : {"fc1", "fc2"}) {
    builder.linear(name, 4096);
    builder.relu(cat(name, ".relu"));
    builder.dropout(cat(name, ".dropout"), "0.5");
  }
  builder.linear("fc3", shape.classes);
  return builder.take();
}

}  // namespace

layers::Graph vgg16(const NetworkShape& shape) { return vgg(shape, 3); }

layers::Graph vgg19(const NetworkShape& shape) { return vgg(shape, 4); }

}  // namespace bitloom::models
