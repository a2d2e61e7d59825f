#include "bitloom/deploy/lower.h"

#include <gtest/gtest.h>

#include <cmath>
#include <span>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/integer/reference.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/quantized_layers.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::LayerOp;
using integer::Model;
using layers::Graph;
using layers::Network;
using layers::ParameterStore;

constexpr const char* kResidual = R"(bitloom-graph 1
input = input(shape=1x4x4)
input.q = fake_quant(input, bits=8, dtype=s8, qmin=-128, qmax=127)
conv1.weight = parameter(shape=2x1x3x3)
conv1.weight.q = fake_quant(conv1.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input.q, conv1.weight.q, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
relu1.q = fake_quant(relu1, bits=4, dtype=u8, qmin=0, qmax=15)
conv2.weight = parameter(shape=2x2x1x1)
conv2.weight.q = fake_quant(conv2.weight, bits=4, dtype=s8, qmin=-8, qmax=7, axis=0)
conv2 = conv2d(relu1.q, conv2.weight.q)
add1 = add(conv2, relu1.q)
relu2 = relu(add1)
relu2.q = fake_quant(relu2, bits=8, dtype=u8, qmin=0, qmax=255)
gap = global_avg_pool(relu2.q)
gap.q = fake_quant(gap, bits=8, dtype=u8, qmin=0, qmax=255, share=relu2.q)
flatten = flatten(gap.q)
fc.weight = parameter(shape=3x2)
fc.weight.q = fake_quant(fc.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
fc = linear(flatten, fc.weight.q, bias=1)
)";

Tensor identity_table() {
  Tensor table(DType::kF32, Shape{1, 256});
  for (int p = 0; p < 256; ++p) table.data<float>()[p] = static_cast<float>(p) / 255.0F - 0.5F;
  return table;
}

struct Declared {
  explicit Declared(const char* text) : graph(Graph::parse(text, "test")) {
    const Network network(graph, quant::quantized_layers(), store, {.batch = 1});
    for (auto& [name, parameter] : store.all()) {
      if (name.ends_with(".scale")) {
        for (float& scale : parameter.value.span<float>()) scale = 0.01F;
      }
    }
  }
  float& value(const std::string& name, std::int64_t i) {
    return store.at(name).value.data<float>()[i];
  }
  Model lowered() {
    return lower(graph, store,
                 {.network = "t", .method = "qat", .profile = "int8", .normalization = table});
  }
  Graph graph;
  ParameterStore store{3};
  Tensor table = identity_table();
};

TEST(Lower, FusesChainsAndSharesTheAverageGrid) {
  Declared declared(kResidual);
  const Model model = declared.lowered();
  std::vector<LayerOp> ops;
  for (const auto& layer : model.layers) ops.push_back(layer.op);
  EXPECT_EQ(ops, (std::vector<LayerOp>{LayerOp::kConv2d, LayerOp::kConv2d, LayerOp::kGlobalAvgPool,
                                       LayerOp::kLinear}));
  EXPECT_EQ(model.layers[0].clip, integer::kRelu);
  ASSERT_EQ(model.layers[1].inputs.size(), 2U);  // source and residual
  EXPECT_EQ(model.layers[1].inputs[0], model.layers[1].inputs[1]);
  EXPECT_EQ(model.tensors[3].scale, model.tensors[2].scale);
  EXPECT_EQ(model.tensors.back().dtype, DType::kF32);
  EXPECT_EQ(model.layers[1].weight_bits, 4);
  for (const auto& layer : model.layers) EXPECT_EQ(layer.mode, ComputeMode::kStatic) << layer.name;
}

// s_x 0.02, s_w 0.01 and 0.03, s_y 0.05; gamma 2 and -3, var 4 and 0.25 (eps 1e-5), mean 0.5 and
// 1, beta 0.1 and 0.2: slope = gamma / sqrt(var + eps), m = s_x s_w slope / s_y,
// b = (beta - mean slope) / s_y. The negative gamma gives a negative multiplier.
TEST(Lower, AbsorbsBatchNormInDouble) {
  Declared declared(kResidual);
  declared.value("input.q.scale", 0) = 0.02F;
  declared.value("conv1.weight.q.scale", 1) = 0.03F;
  declared.value("relu1.q.scale", 0) = 0.05F;
  const float gamma[] = {2.0F, -3.0F};
  const float beta[] = {0.1F, 0.2F};
  const float mean[] = {0.5F, 1.0F};
  const float var[] = {4.0F, 0.25F};
  for (int o = 0; o < 2; ++o) {
    declared.value("bn1.gamma", o) = gamma[o];
    declared.value("bn1.beta", o) = beta[o];
    declared.value("bn1.running_mean", o) = mean[o];
    declared.value("bn1.running_var", o) = var[o];
  }
  const Model model = declared.lowered();
  const double weight_scale[] = {static_cast<double>(0.01F), static_cast<double>(0.03F)};
  for (int o = 0; o < 2; ++o) {
    const double slope =
        static_cast<double>(gamma[o]) / std::sqrt(static_cast<double>(var[o]) + 1e-5);
    const double m =
        static_cast<double>(0.02F) * weight_scale[o] * slope / static_cast<double>(0.05F);
    const double b = (static_cast<double>(beta[o]) - static_cast<double>(mean[o]) * slope) /
                     static_cast<double>(0.05F);
    EXPECT_NEAR(model.layers[0].multiplier.data<float>()[o], m, 1e-7 * std::abs(m));
    EXPECT_NEAR(model.layers[0].bias.data<float>()[o], b, 1e-7 * std::abs(b));
  }
  EXPECT_LT(model.layers[0].multiplier.data<float>()[1], 0.0F);
}

TEST(Lower, ResidualRatioIsTheQuotientOfScales) {
  Declared declared(kResidual);
  declared.value("relu1.q.scale", 0) = 0.05F;
  declared.value("relu2.q.scale", 0) = 0.04F;
  EXPECT_FLOAT_EQ(declared.lowered().layers[1].residual_ratio, 1.25F);
}

TEST(Lower, QuantizesThePixelTableLikeTheInputNode) {
  Declared declared(kResidual);
  declared.value("input.q.scale", 0) = 1.0F / 256.0F;
  const Model model = declared.lowered();
  ASSERT_EQ(model.input_table.dtype(), DType::kS8);
  for (int p = 0; p < 256; ++p) {
    const float real = declared.table.data<float>()[p];
    EXPECT_EQ(model.input_table.data<std::int8_t>()[p],
              std::clamp<long>(std::lrintf(real * 256.0F), -128, 127));
  }
}

TEST(Lower, FloatGraphFoldsBatchNormIntoWeights) {
  Declared declared(R"(bitloom-graph 1
input = input(shape=1x4x4)
conv1.weight = parameter(shape=2x1x1x1)
conv1 = conv2d(input, conv1.weight)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
flatten = flatten(pool1)
fc.weight = parameter(shape=3x8)
fc = linear(flatten, fc.weight, bias=1)
)");
  declared.value("conv1.weight", 0) = 0.5F;
  declared.value("bn1.gamma", 0) = 4.0F;
  declared.value("bn1.running_var", 0) = 4.0F - 1e-5F;
  declared.value("bn1.running_mean", 0) = 0.25F;
  declared.value("bn1.beta", 0) = 1.0F;
  const Model model = declared.lowered();
  ASSERT_EQ(model.layers.size(), 3U);
  EXPECT_EQ(model.layers[0].mode, ComputeMode::kFloat);
  EXPECT_NEAR(model.layers[0].weight.data<float>()[0], 1.0F, 1e-6F);  // 0.5 * 4 / 2
  EXPECT_NEAR(model.layers[0].bias.data<float>()[0], 0.5F, 1e-6F);    // 1 - 0.25 * 2
  EXPECT_EQ(model.tensors[0].dtype, DType::kF32);
}

void expect_refusal(Declared& declared, const std::string& place) {
  try {
    declared.lowered();
    FAIL() << "accepted";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find(place), std::string::npos) << error.what();
  }
}

TEST(Lower, RefusesNotANumber) {
  Declared declared(kResidual);
  declared.value("conv2.weight", 1) = std::nanf("");
  expect_refusal(declared, "conv2.weight");
}

TEST(Lower, RefusesALayerThatWouldStayFloatInSilence) {
  Declared half(R"(bitloom-graph 1
input = input(shape=1x4x4)
input.q = fake_quant(input, bits=8, dtype=s8, qmin=-128, qmax=127)
conv1.weight = parameter(shape=2x1x1x1)
conv1 = conv2d(input.q, conv1.weight)
)");
  expect_refusal(half, "conv1");
  Declared alone(R"(bitloom-graph 1
input = input(shape=1x4x4)
bn = batch_norm(input)
conv1.weight = parameter(shape=2x1x1x1)
conv1 = conv2d(bn, conv1.weight)
)");
  expect_refusal(alone, "bn");
}

// real 0 is code 3: m = 0.01 * 0.01 / 0.01, b = 0 + 3, and the ReLU's bound is the zero point.
TEST(Lower, AReluNarrowsTheCodesToItsZeroPoint) {
  Declared declared(R"(bitloom-graph 1
input = input(shape=1x4x4)
input.q = fake_quant(input, bits=8, dtype=u8, qmin=0, qmax=255)
conv1.weight = parameter(shape=2x1x1x1)
conv1.weight.q = fake_quant(conv1.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input.q, conv1.weight.q)
relu1 = relu6(conv1)
relu1.q = fake_quant(relu1, bits=8, dtype=u8, qmin=0, qmax=255, zero_point=3)
drop = dropout(relu1.q)
flatten = flatten(drop)
fc.weight = parameter(shape=2x32)
fc.weight.q = fake_quant(fc.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
fc = linear(flatten, fc.weight.q)
)");
  declared.value("relu1.q.scale", 0) = 0.05F;
  const Model model = declared.lowered();
  ASSERT_EQ(model.layers.size(), 2U);  // dropout and flatten are no layers
  const integer::Layer& conv = model.layers[0];
  EXPECT_EQ(conv.clip, integer::kRelu6);
  EXPECT_EQ(integer::code_range(conv, model.tensors[1]), (integer::CodeRange{3, 123}));
  EXPECT_FLOAT_EQ(conv.bias.data<float>()[0], 3.0F);
  EXPECT_EQ(model.layers[1].inputs, std::vector<int>{1});
}

}  // namespace
}  // namespace bitloom::deploy
