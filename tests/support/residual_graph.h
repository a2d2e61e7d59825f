// The residual network that tests of quantization share, as graph text, and images for it: a stem
// with batch norm and a pool, a block whose shortcut is a convolution (signed beside unsigned
// activations), a head.
#pragma once

#include <string>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/core/tensor.h"

namespace bitloom {

/// What tells one of these networks from another. `tail` comes behind relu2, [N, width, S, S].
struct ResidualText {
  std::string input = "3x8x8";
  std::string stem_shape = "8x3x3x3";
  std::string stem_attributes;       ///< of conv1, ", bias=1"
  std::string stem_norm_attributes;  ///< of bn1, ", epsilon=0.01"
  int width = 16;                    ///< channels of the block
  std::string tail = average_tail(16, 7);

  /// Global average pool and one linear layer.
  static std::string average_tail(int width, int classes) {
    return cat("gap = global_avg_pool(relu2)\nflatten = flatten(gap)\nfc.weight = parameter(shape=",
               classes, "x", width, ")\nfc = linear(flatten, fc.weight, bias=1)\n");
  }
};

inline std::string residual_text(const ResidualText& net = {}) {
  return cat("bitloom-graph 1\ninput = input(shape=", net.input,
             ")\nconv1.weight = parameter(shape=", net.stem_shape,
             ")\nconv1 = conv2d(input, conv1.weight, pad=1", net.stem_attributes,
             ")\nbn1 = batch_norm(conv1", net.stem_norm_attributes, R"()
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=)",
             net.width, R"(x8x3x3)
conv2 = conv2d(pool1, conv2.weight, pad=1, stride=2)
bn2 = batch_norm(conv2)
down.weight = parameter(shape=)",
             net.width, R"(x8x1x1)
down = conv2d(pool1, down.weight, stride=2)
down.bn = batch_norm(down)
add1 = add(bn2, down.bn)
relu2 = relu(add1)
)",
             net.tail);
}

/// Standard normal f32 [batch, 3, 8, 8], the same in every run.
inline Tensor random_images(std::int64_t batch) {
  Tensor images(DType::kF32, Shape{batch, 3, 8, 8});
  const RandomStream random(11, "images");
  std::uint64_t i = 0;
  for (float& value : images.span<float>()) value = random.normal(i++);
  return images;
}

}  // namespace bitloom
