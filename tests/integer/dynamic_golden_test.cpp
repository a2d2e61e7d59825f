// Layers that quantize their source while they run, against PyTorch: tools/golden/dynamic.py.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/integer/profile.h"
#include "bitloom/integer/reference.h"
#include "bitloom/io/hdf5_archive.h"

namespace bitloom::integer {
namespace {

struct GoldenLayer {
  Model model;
  Tensor expected;
  Tensor source;
};

GoldenLayer golden_layer(const Archive& archive, const std::string& name) {
  GoldenLayer made{.model = {},
                   .expected = archive.tensor(name + "/y").clone(),
                   .source = archive.tensor(name + "/x").clone()};
  const Tensor& weight = archive.tensor(name + "/weight");
  const bool linear = weight.shape().rank() == 2;
  Layer layer{
      .name = name,
      .op = linear ? LayerOp::kLinear : LayerOp::kConv2d,
      .mode = ComputeMode::kDynamic,
      .inputs = {0},
      .output = 1,
      .weight = weight.clone(),
      .weight_bits = 8,
      .weight_range = {-127, 127},
      .multiplier = archive.tensor(name + "/scale").clone(),
      .bias = archive.tensor(name + "/bias").clone(),
      .source_format = profile_named("int8").activations(8, archive.integer(name, "signed") != 0)};
  if (!linear) {
    layer.window = {.kernel_h = weight.shape().h(),
                    .kernel_w = weight.shape().w(),
                    .stride = archive.integer(name, "stride"),
                    .pad = archive.integer(name, "pad")};
  }
  made.model.tensors = {{.name = "x", .shape = made.source.shape().with_batch(1)},
                        {.name = "y", .shape = made.expected.shape().with_batch(1)}};
  made.model.layers.push_back(std::move(layer));
  return made;
}

// torch takes the scale in double and rounds it, fbgemm may fuse the last multiply and add: two
// roundings of the product, so 4e-7 of its magnitude. Another code anywhere would show as 1e-4.
// Signed cases are our own formula in torch: equal bit for bit.
TEST(DynamicGolden, EqualsTorchImageByImage) {
  const Archive archive = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/dynamic.h5");
  int layers = 0;
  for (const char* word : {"unsigned", "signed"}) {
    for (const char* op : {"linear", "conv", "stride"}) {
      const std::string name = std::string(word) + "/" + op;
      SCOPED_TRACE(name);
      const GoldenLayer golden = golden_layer(archive, name);
      const Layer& layer = golden.model.layers[0];
      Tensor out(DType::kF32, golden.expected.shape());
      run_layer(golden.model, layer, std::vector<ConstTensorView>{golden.source}, out);
      const bool is_signed = layer.source_format.is_signed;
      for (std::int64_t i = 0; i < out.elements(); ++i) {
        const float expected = golden.expected.data<float>()[i];
        const float bias = layer.bias.data<float>()[i % layer.bias.elements()];
        const float magnitude = std::fabs(expected) + std::fabs(bias);
        ASSERT_NEAR(out.data<float>()[i], expected, is_signed ? 0.0F : 4e-7F * magnitude) << i;
      }
      ++layers;
    }
  }
  EXPECT_EQ(layers, 6);
}

}  // namespace
}  // namespace bitloom::integer
