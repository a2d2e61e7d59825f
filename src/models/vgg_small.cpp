#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {

layers::Graph vgg_small(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  int number = 0;
  int pools = 0;
  for (const std::int64_t channels : {128, 256, 512}) {
    for (int twice = 0; twice < 2; ++twice) {
      const std::string suffix = std::to_string(++number);
      builder.conv2d("conv" + suffix, channels, {.pad = 1});
      builder.batch_norm("bn" + suffix);
      builder.relu("relu" + suffix);
    }
    builder.max_pool(cat("pool", ++pools), {});
  }
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
