#include "bitloom/quant/passes.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"

namespace bitloom::quant {
namespace {

using layers::Graph;

constexpr const char* kPlain = R"(bitloom-graph 1
input = input(shape=1x8x8)
conv1.weight = parameter(shape=4x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=4x4x3x3)
conv2 = conv2d(pool1, conv2.weight, pad=1)
relu2 = relu(conv2)
flatten = flatten(relu2)
fc.weight = parameter(shape=3x64)
fc = linear(flatten, fc.weight)
)";

constexpr const char* kResidual = R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=4x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
relu1 = relu(conv1)
conv2.weight = parameter(shape=8x4x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1, stride=2)
bn2 = batch_norm(conv2)
down.weight = parameter(shape=8x4x1x1)
down = conv2d(relu1, down.weight, stride=2)
down.bn = batch_norm(down)
add1 = add(bn2, down.bn)
relu2 = relu(add1)
gap = global_avg_pool(relu2)
flatten = flatten(gap)
fc.weight = parameter(shape=3x8)
fc = linear(flatten, fc.weight)
)";

Graph parse(const char* text) { return Graph::parse(text, "test"); }

QuantOptions qat(int bits) {
  return {.method = "qat", .quantizer = "lsq", .weight_bits = bits, .activation_bits = bits};
}

const integer::DeviceProfile& int8_profile() { return integer::profile_named("int8"); }

TEST(InsertFakeQuant, PutsNodesOnWeightsInputAndOutputs) {
  const Graph graph = insert_fake_quant(parse(kPlain), qat(4), int8_profile(), true);
  EXPECT_EQ(graph.to_text(), parse(R"(bitloom-graph 1
input = input(shape=1x8x8)
input.q = fake_quant(input, quantizer=static, bits=8, dtype=s8, qmin=-128, qmax=127)
conv1.weight = parameter(shape=4x1x3x3)
conv1.weight.q = fake_quant(conv1.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input.q, conv1.weight.q, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
relu1.q = fake_quant(relu1, quantizer=lsq, bits=4, dtype=u8, qmin=0, qmax=15)
pool1 = max_pool(relu1.q, kernel=2)
conv2.weight = parameter(shape=4x4x3x3)
conv2.weight.q = fake_quant(conv2.weight, quantizer=lsq, bits=4, dtype=s8, qmin=-8, qmax=7, axis=0)
conv2 = conv2d(pool1, conv2.weight.q, pad=1)
relu2 = relu(conv2)
relu2.q = fake_quant(relu2, quantizer=lsq, bits=8, dtype=u8, qmin=0, qmax=255)
flatten = flatten(relu2.q)
fc.weight = parameter(shape=3x64)
fc.weight.q = fake_quant(fc.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
fc = linear(flatten, fc.weight.q)
)")
                                 .to_text());
}

TEST(InsertFakeQuant, LeavesTheBranchOfAnAddUnrounded) {
  QuantOptions options = qat(8);
  options.method = "ptq-static";
  const Graph graph = insert_fake_quant(parse(kResidual), options, int8_profile(), false);
  EXPECT_EQ(graph.find("bn2.q"), nullptr);
  EXPECT_EQ(graph.find("conv2.q"), nullptr);
  EXPECT_EQ(graph.find("add1.q"), nullptr);
  ASSERT_NE(graph.find("down.bn.q"), nullptr);
  EXPECT_EQ(graph.find("down.bn.q")->word("dtype", ""), "s8");
  EXPECT_EQ(graph.find("add1")->inputs, (std::vector<std::string>{"bn2", "down.bn.q"}));
  EXPECT_EQ(graph.find("relu2.q")->word("dtype", ""), "u8");
  EXPECT_EQ(graph.find("gap.q")->word("share", ""), "relu2.q");
  EXPECT_EQ(graph.find("input.q")->word("dtype", ""), "u8");
  EXPECT_EQ(graph.find("input.q")->word("quantizer", ""), "static");
}

TEST(InsertFakeQuant, ObeysTheProfile) {
  const Graph graph =
      insert_fake_quant(parse(kPlain), qat(8), integer::profile_named("int8-reduced"), true);
  EXPECT_EQ(graph.find("input.q")->word("dtype", ""), "u8");
  EXPECT_EQ(graph.find("input.q")->integer("zero_point", 0), 128);
  EXPECT_EQ(graph.find("conv2.weight.q")->integer("qmin", 0), -64);
  EXPECT_EQ(graph.find("conv2.weight.q")->integer("bits", 0), 7);
}

TEST(InsertFakeQuant, CanQuantizeTheEndsLikeTheRest) {
  QuantOptions options = qat(4);
  options.first_last_bits = 0;
  options.per_channel = false;
  const Graph graph = insert_fake_quant(parse(kPlain), options, int8_profile(), true);
  EXPECT_EQ(graph.find("fc.weight.q")->integer("bits", 0), 4);
  EXPECT_EQ(graph.find("relu2.q")->integer("bits", 0), 4);
  EXPECT_EQ(graph.find("input.q")->integer("bits", 0), 4);
  EXPECT_FALSE(graph.find("fc.weight.q")->has("axis"));
}

TEST(InsertFakeQuant, RefusesAQuantizedGraphAndAnEmptyOne) {
  const Graph once = insert_fake_quant(parse(kPlain), qat(8), int8_profile(), true);
  EXPECT_THROW(insert_fake_quant(once, qat(8), int8_profile(), true), ConfigError);
  const Graph nothing = parse("bitloom-graph 1\ninput = input(shape=1x8x8)\nr = relu(input)\n");
  EXPECT_THROW(insert_fake_quant(nothing, qat(8), int8_profile(), true), ConfigError);
}

TEST(StripFakeQuant, GivesTheFloatGraphBack) {
  for (const char* text : {kPlain, kResidual}) {
    const Graph quantized = insert_fake_quant(parse(text), qat(4), int8_profile(), true);
    EXPECT_EQ(strip_fake_quant(quantized).to_text(), parse(text).to_text());
  }
}

TEST(UseIntegerForward, RunsProductsAndAddsOnCodes) {
  const Graph quantized = insert_fake_quant(parse(kResidual), qat(8), int8_profile(), false);
  const Graph graph = use_integer_forward(quantized);
  EXPECT_EQ(graph.find("conv1")->op, "quantized_conv2d");
  EXPECT_EQ(graph.find("conv2")->op, "quantized_conv2d");
  EXPECT_EQ(graph.find("down")->op, "quantized_conv2d");
  EXPECT_EQ(graph.find("fc")->op, "quantized_linear");
  EXPECT_EQ(graph.find("add1")->op, "quantized_add");
  EXPECT_EQ(graph.find("relu2.q")->word("output", ""), "codes");
  EXPECT_EQ(graph.find("gap.q"), nullptr);  // codes are rounded in the average itself
  EXPECT_EQ(graph.find("flatten")->inputs[0], "gap");
}

TEST(UseIntegerForward, KeepsRealsWhereAReaderNeedsThem) {
  // relu1.q also feeds a batch_norm, which knows no codes: conv1 runs on integers, conv2 does not.
  const Graph graph = use_integer_forward(parse(R"(bitloom-graph 1
input = input(shape=1x8x8)
input.q = fake_quant(input, bits=8, dtype=u8, qmin=0, qmax=255)
conv1.weight = parameter(shape=4x1x3x3)
conv1.weight.q = fake_quant(conv1.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input.q, conv1.weight.q)
relu1 = relu(conv1)
relu1.q = fake_quant(relu1, bits=8, dtype=u8, qmin=0, qmax=255)
bn = batch_norm(relu1.q)
conv2.weight = parameter(shape=4x4x1x1)
conv2.weight.q = fake_quant(conv2.weight, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv2 = conv2d(relu1.q, conv2.weight.q)
out = add(conv2, bn)
)"));
  EXPECT_EQ(graph.find("conv1")->op, "quantized_conv2d");
  EXPECT_EQ(graph.find("conv2")->op, "conv2d");
  EXPECT_FALSE(graph.find("relu1.q")->has("output"));
  EXPECT_FALSE(graph.find("conv2.weight.q")->has("output"));
}

}  // namespace
}  // namespace bitloom::quant
