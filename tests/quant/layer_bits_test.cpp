#include "bitloom/quant/layer_bits.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/quant/passes.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;

constexpr const char* kResidual = R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=4x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
relu1 = relu(conv1)
conv2.weight = parameter(shape=4x4x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add1 = add(bn2, relu1)
relu2 = relu(add1)
gap = global_avg_pool(relu2)
flatten = flatten(gap)
fc.weight = parameter(shape=3x4)
fc = linear(flatten, fc.weight)
)";

Graph quantized(const char* table, const std::string& method = "ptq-static") {
  const QuantOptions options{
      .method = method, .weight_bits = 6, .layer_bits = parse_layer_bits(table).value()};
  return insert_fake_quant(Graph::parse(kResidual, "test"), options, integer::profile_named("int8"),
                           true);
}

TEST(LayerBits, TextGoesThereAndBack) {
  const auto table = parse_layer_bits(" b.conv1 = 8/3 , fc=4/-,input=-/8");
  ASSERT_TRUE(table.has_value());
  EXPECT_EQ(table->at("b.conv1"), (LayerBits{8, 3}));
  EXPECT_EQ(table->at("fc"), (LayerBits{4, 0}));
  EXPECT_EQ(table->at("input"), (LayerBits{0, 8}));
  EXPECT_EQ(to_text(*table), "b.conv1=8/3,fc=4/-,input=-/8");
  EXPECT_TRUE(parse_layer_bits("").value().empty());
  for (const char* wrong : {"conv1", "conv1=8", "conv1=9/8", "conv1=8/1", "=8/8", "a=8/8,",
                            "a=8/8/8", "a=8/8,a=4/4", "a/8=8"}) {
    EXPECT_FALSE(parse_layer_bits(wrong).has_value()) << wrong;
  }
}

// conv2's activations are those behind its residual and ReLU; the average follows them.
TEST(LayerBits, GiveEachNodeItsWidth) {
  const Graph graph = quantized("conv2=3/4,fc=5/-,input=-/7");
  EXPECT_EQ(graph.find("conv1.weight.q")->integer("bits", 0), 8);  // first_last_bits
  EXPECT_EQ(graph.find("conv2.weight.q")->integer("bits", 0), 3);
  EXPECT_EQ(graph.find("conv2.weight.q")->integer("qmin", 0), -4);
  EXPECT_EQ(graph.find("relu2.q")->integer("qmax", 0), 15);
  EXPECT_EQ(graph.find("gap.q")->integer("qmax", 0), 15);
  EXPECT_EQ(graph.find("fc.weight.q")->integer("bits", 0), 5);
  EXPECT_EQ(graph.find("input.q")->integer("qmax", 0), 63);
  EXPECT_EQ(graph.find("relu1.q")->integer("bits", 0), 8);
  EXPECT_EQ(to_text(layer_bits_of(graph)), "conv1=8/8,conv2=3/4,fc=5/-,input=-/7");
}

TEST(LayerBits, KnowWhatEachNodeBelongsTo) {
  const auto owners = node_owners(quantized(""));
  EXPECT_EQ(owners.size(), 7U);
  EXPECT_EQ(owners.at("conv2.weight.q").layer, "conv2");
  EXPECT_TRUE(owners.at("conv2.weight.q").is_weight);
  EXPECT_EQ(owners.at("relu2.q").layer, "conv2");
  EXPECT_EQ(owners.at("gap.q").layer, "conv2");
  EXPECT_EQ(owners.at("relu1.q").layer, "conv1");
  EXPECT_EQ(owners.at("input.q").layer, "input");
}

TEST(LayerBits, RefuseWhatHasNoSuchWidth) {
  EXPECT_ERROR(ConfigError, quantized("conv9=4/4"), "quant.layer_bits: conv9", "no such layer");
  EXPECT_ERROR(ConfigError, quantized("relu1=-/4"), "quant.layer_bits: relu1", "no such layer");
  EXPECT_ERROR(ConfigError, quantized("fc=4/4"), "quant.layer_bits: fc: expected '-' behind");
  EXPECT_ERROR(ConfigError, quantized("input=4/8"), "quant.layer_bits: input", "no weights");
  EXPECT_ERROR(ConfigError, quantized("conv2=4/4", "ptq-weight-only"), "an output that stays real");
}

}  // namespace
}  // namespace bitloom::quant
