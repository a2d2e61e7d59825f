#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "builder.h"

namespace bitloom::models {
namespace {

struct Block {
  std::int64_t channels = 0;
  std::int64_t stride = 1;
};

// Table 1 of the paper: outputs and stride of each depthwise separable block.
constexpr Block kBlocks[] = {{64, 1},  {128, 2}, {128, 1}, {256, 2}, {256, 1},  {512, 2}, {512, 1},
                             {512, 1}, {512, 1}, {512, 1}, {512, 1}, {1024, 2}, {1024, 1}};

}  // namespace

layers::Graph mobilenet_v1(const NetworkShape& shape) {
  GraphBuilder builder(shape);
  builder.conv_bn_relu("stem", 32, {.stride = is_small(shape) ? 1 : 2, .pad = 1});
  int number = 0;
  for (const Block& block : kBlocks) {
    const std::string name = cat("block", ++number);
    const std::int64_t inputs = builder.at().channels;
    builder.conv_bn_relu(name + ".depthwise", inputs,
                         {.stride = block.stride, .pad = 1, .groups = inputs});
    builder.conv_bn_relu(name + ".pointwise", block.channels, {.kernel = 1});
  }
  builder.global_avg_pool("pool");
  builder.flatten("flatten");
  builder.linear("fc", shape.classes);
  return builder.take();
}

}  // namespace bitloom::models
