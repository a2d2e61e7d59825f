// Methods whose tensors stay real between layers: dynamic range and weight-only.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/deploy/lower.h"
#include "bitloom/integer/reference.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/quantized_layers.h"
#include "support/error_matchers.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::Layer;
using integer::Model;
using layers::Graph;
using layers::Network;
using layers::ParameterStore;

constexpr const char* kGraph = R"(bitloom-graph 1
input = input(shape=1x4x4)
conv1.weight = parameter(shape=2x1x3x3)
conv1.weight.q = fake_quant(conv1.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input, conv1.weight.q, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=2x2x1x1)
conv2.weight.q = fake_quant(conv2.weight, bits=4, dtype=s8, qmin=-8, qmax=7, weight=1)
conv2 = conv2d(pool1, conv2.weight.q)
add1 = add(conv2, pool1)
conv3.weight = parameter(shape=2x2x1x1)
conv3.weight.q = fake_quant(conv3.weight, bits=4, dtype=s8, qmin=-8, qmax=7, axis=0)
conv3 = conv2d(add1, conv3.weight.q)
gap = global_avg_pool(conv3)
flatten = flatten(gap)
fc.weight = parameter(shape=3x2)
fc.weight.q = fake_quant(fc.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
fc = linear(flatten, fc.weight.q, bias=1)
)";

struct Declared {
  explicit Declared(const std::string& text) : graph(Graph::parse(text, "test")) {
    const Network network(graph, quant::quantized_layers(), store, {.batch = 1});
    for (auto& [name, parameter] : store.all()) {
      if (!name.ends_with(".scale")) continue;
      for (std::int64_t o = 0; o < parameter.value.elements(); ++o) {
        parameter.value.data<float>()[o] = 0.01F + 0.002F * static_cast<float>(o);
      }
    }
    const float gamma[] = {2.0F, -3.0F};
    const float mean[] = {0.5F, 1.0F};
    for (int o = 0; o < 2; ++o) {
      store.at("bn1.gamma").value.data<float>()[o] = gamma[o];
      store.at("bn1.running_mean").value.data<float>()[o] = mean[o];
      store.at("bn1.running_var").value.data<float>()[o] = 4.0F;
    }
    for (int p = 0; p < 256; ++p) table.data<float>()[p] = static_cast<float>(p) / 255.0F - 0.5F;
  }
  Model lowered(const std::string& method, const std::string& profile) const {
    return lower(graph, store,
                 {.network = "t", .method = method, .profile = profile, .normalization = table});
  }
  Graph graph;
  ParameterStore store{3};
  Tensor table{DType::kF32, Shape{1, 256}};
};

const Layer& layer_named(const Model& model, const std::string& name) {
  for (const Layer& layer : model.layers) {
    if (layer.name == name) return layer;
  }
  throw FormatError("no layer " + name);
}

// slope = gamma / sqrt(4 + 1e-5); m = s_w * slope, b = -mean * slope. The second gamma is negative.
TEST(LowerDynamic, MultiplierHoldsWeightScaleAndBatchNorm) {
  const Model model = Declared(kGraph).lowered("ptq-dynamic", "int8");
  const Layer& conv1 = layer_named(model, "conv1");
  EXPECT_EQ(conv1.mode, ComputeMode::kDynamic);
  EXPECT_EQ(conv1.weight.dtype(), DType::kS8);
  const double gamma[] = {2.0, -3.0};
  const double mean[] = {0.5, 1.0};
  const double scale[] = {static_cast<double>(0.01F), static_cast<double>(0.01F + 0.002F)};
  for (int o = 0; o < 2; ++o) {
    const double slope = gamma[o] / std::sqrt(4.0 + 1e-5);
    EXPECT_FLOAT_EQ(conv1.multiplier.data<float>()[o], static_cast<float>(scale[o] * slope));
    EXPECT_FLOAT_EQ(conv1.bias.data<float>()[o], static_cast<float>(-mean[o] * slope));
    EXPECT_EQ(conv1.weight_scale.data<float>()[o], static_cast<float>(scale[o]));
  }
  for (const integer::TensorInfo& tensor : model.tensors) EXPECT_EQ(tensor.dtype, DType::kF32);
}

TEST(LowerDynamic, SourcesAreUnsignedWhereNothingCanBeNegative) {
  Declared declared(kGraph);
  const auto source = [&](const char* layer, const char* profile) {
    return layer_named(declared.lowered("ptq-dynamic", profile), layer).source_format;
  };
  EXPECT_TRUE(source("conv1", "int8").is_signed);   // pixels below 0
  EXPECT_FALSE(source("conv2", "int8").is_signed);  // a pool of a ReLU
  EXPECT_EQ(source("conv2", "int8").zero_point, 0);
  EXPECT_TRUE(source("conv3", "int8").is_signed);  // a convolution plus a shortcut
  EXPECT_TRUE(source("fc", "int8").is_signed);     // the average of a convolution
  EXPECT_EQ(source("fc", "int8-reduced").zero_point, 128);
  EXPECT_FALSE(source("fc", "int8-reduced").is_signed);
  for (float& value : declared.table.span<float>()) value += 0.5F;
  EXPECT_FALSE(source("conv1", "int8").is_signed);  // pixels from 0
  EXPECT_EQ(source("conv1", "int8").bits, 8);
}

TEST(LowerDynamic, OneScaleForAllChannelsIsSpreadOverThem) {
  const Model model = Declared(kGraph).lowered("ptq-dynamic", "int8");
  const Layer& conv2 = layer_named(model, "conv2");
  EXPECT_EQ(conv2.weight_bits, 4);
  ASSERT_EQ(conv2.inputs.size(), 2U);  // the add is fused
  EXPECT_EQ(conv2.weight_scale.data<float>()[0], conv2.weight_scale.data<float>()[1]);
}

TEST(LowerWeightOnly, HasTheCodesOfDynamicAndNoProfile) {
  const Declared declared(kGraph);
  const Model real = declared.lowered("ptq-weight-only", "");
  const Model dynamic = declared.lowered("ptq-dynamic", "int8");
  int compared = 0;
  for (const Layer& layer : real.layers) {
    if (layer.weight.empty()) continue;
    EXPECT_EQ(layer.mode, ComputeMode::kWeightOnly);
    const Layer& other = layer_named(dynamic, layer.name);
    for (std::int64_t i = 0; i < layer.weight.elements(); ++i) {
      EXPECT_EQ(layer.weight.data<std::int8_t>()[i], other.weight.data<std::int8_t>()[i]);
    }
    for (std::int64_t o = 0; o < layer.multiplier.elements(); ++o) {
      EXPECT_EQ(layer.multiplier.data<float>()[o], other.multiplier.data<float>()[o]);
    }
    ++compared;
  }
  EXPECT_EQ(compared, 4);
}

// The float network with fake-quantized weights is what a weight-only model computes, up to the
// order of sums and batch norm's place.
TEST(LowerWeightOnly, ComputesWhatItsSimulationComputes) {
  Declared declared(kGraph);
  const Model model = declared.lowered("ptq-weight-only", "");
  Network network(declared.graph, quant::quantized_layers(), declared.store,
                  {.batch = 1, .training = false});
  Tensor image(DType::kF32, Shape{1, 1, 4, 4});
  for (int i = 0; i < 16; ++i) image.data<float>()[i] = 0.1F * static_cast<float>(i % 7 - 3);
  const ConstTensorView expected = network.forward(image, layers::Phase::kEvaluate);
  std::vector<Tensor> tensors;
  for (const integer::TensorInfo& info : model.tensors)
    tensors.emplace_back(info.dtype, info.shape);
  copy(image, tensors[0]);
  for (const Layer& layer : model.layers) {
    std::vector<ConstTensorView> inputs;
    for (const int input : layer.inputs) {
      inputs.emplace_back(tensors[static_cast<std::size_t>(input)]);
    }
    integer::run_layer(model, layer, inputs, tensors[static_cast<std::size_t>(layer.output)]);
  }
  for (std::int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(tensors.back().data<float>()[i], expected.data<float>()[i], 1e-6F) << i;
  }
}

TEST(LowerDynamic, NamesWhatContradictsTheMethod) {
  std::string real_weight(kGraph);
  real_weight.replace(real_weight.find("conv1.weight.q, pad"), 14, "conv1.weight");
  EXPECT_ERROR(ConfigError, Declared(real_weight).lowered("ptq-dynamic", "int8"), "conv1",
               "codes on the weight alone, for ptq-dynamic", "reals on the weight");
  std::string coded_source(kGraph);
  coded_source.replace(coded_source.find("conv1 = conv2d(input,"), 21,
                       "input.q = fake_quant(input, bits=8, dtype=s8, qmin=-128, qmax=127)\n"
                       "conv1 = conv2d(input.q,");
  EXPECT_ERROR(ConfigError, Declared(coded_source).lowered("ptq-weight-only", ""), "conv1",
               "codes on an activation");
  EXPECT_ERROR(ConfigError, Declared(kGraph).lowered("ptq-static", "int8"), "conv1",
               "codes only on the weight");
}

}  // namespace
}  // namespace bitloom::deploy
