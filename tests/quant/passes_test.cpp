#include "bitloom/quant/passes.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"

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

// A concat's inputs have one grid, which the earliest owns: a ReLU, a max pool of the stem, whose
// own quantizer that is, and a signed branch that makes the grid signed. dropout and the average
// keep it. What reaches the output through pools alone stays real.
constexpr const char* kBranches = R"(bitloom-graph 1
input = input(shape=1x8x8)
stem.weight = parameter(shape=4x1x3x3)
stem = conv2d(input, stem.weight, pad=1)
stem.act = relu6(stem)
one.weight = parameter(shape=2x4x1x1)
one = conv2d(stem.act, one.weight)
two.weight = parameter(shape=3x4x3x3)
two = conv2d(stem.act, two.weight, pad=1)
two.act = hardtanh(two, low=0, high=2)
pool = max_pool(stem.act, kernel=3, stride=1, pad=1)
cat = concat(two.act, pool, one)
avg = avg_pool(cat, kernel=2)
drop = dropout(avg, ratio=0.5)
tail.weight = parameter(shape=5x9x1x1)
tail = conv2d(drop, tail.weight)
tail.act = relu(tail)
gap = global_avg_pool(tail.act)
out = flatten(gap)
)";

constexpr const char* kBranchesQuantized = R"(bitloom-graph 1
input = input(shape=1x8x8)
input.q = fake_quant(input, quantizer=static, bits=8, dtype=s8, qmin=-128, qmax=127)
stem.weight = parameter(shape=4x1x3x3)
stem.weight.q = fake_quant(stem.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
stem = conv2d(input.q, stem.weight.q, pad=1)
stem.act = relu6(stem)
stem.act.q = fake_quant(stem.act, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127)
one.weight = parameter(shape=2x4x1x1)
one.weight.q = fake_quant(one.weight, quantizer=lsq, bits=4, dtype=s8, qmin=-8, qmax=7, axis=0)
one = conv2d(stem.act.q, one.weight.q)
one.q = fake_quant(one, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127, share=stem.act.q, joined=1)
two.weight = parameter(shape=3x4x3x3)
two.weight.q = fake_quant(two.weight, quantizer=lsq, bits=4, dtype=s8, qmin=-8, qmax=7, axis=0)
two = conv2d(stem.act.q, two.weight.q, pad=1)
two.act = hardtanh(two, low=0, high=2)
two.act.q = fake_quant(two.act, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127, share=stem.act.q, joined=1)
pool = max_pool(stem.act.q, kernel=3, stride=1, pad=1)
cat = concat(two.act.q, pool, one.q)
avg = avg_pool(cat, kernel=2)
avg.q = fake_quant(avg, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127, share=stem.act.q)
drop = dropout(avg.q, ratio=0.5)
tail.weight = parameter(shape=5x9x1x1)
tail.weight.q = fake_quant(tail.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
tail = conv2d(drop, tail.weight.q)
tail.act = relu(tail)
gap = global_avg_pool(tail.act)
out = flatten(gap)
)";

TEST(InsertFakeQuant, GivesTheInputsOfAConcatOneGrid) {
  const Graph graph = insert_fake_quant(parse(kBranches), qat(4), int8_profile(), true);
  EXPECT_EQ(graph.to_text(), parse(kBranchesQuantized).to_text());
}

TEST(InsertFakeQuant, SignsWhatAClipLeavesNegative) {
  const auto type_behind = [](const char* clip) {
    const std::string text = std::string(R"(bitloom-graph 1
input = input(shape=1x8x8)
a.weight = parameter(shape=4x1x3x3)
a = conv2d(input, a.weight)
drop = dropout(a)
act = )") + clip + R"(
b.weight = parameter(shape=4x4x3x3)
b = conv2d(act, b.weight)
)";
    const Graph graph = insert_fake_quant(parse(text.c_str()), qat(8), int8_profile(), true);
    EXPECT_EQ(graph.find("a.q"), nullptr);  // the clip behind the dropout is in the same layer
    EXPECT_EQ(graph.find("drop.q"), nullptr);
    return graph.find("act.q")->word("dtype", "");
  };
  EXPECT_EQ(type_behind("relu(drop)"), "u8");
  EXPECT_EQ(type_behind("relu6(drop)"), "u8");
  EXPECT_EQ(type_behind("hardtanh(drop)"), "s8");
  EXPECT_EQ(type_behind("hardtanh(drop, low=0, high=4)"), "u8");
  EXPECT_THROW(type_behind("hardtanh(drop, low=1, high=1)"), ConfigError);
}

TEST(InsertFakeQuant, PutsAZeroPointOnSignedTensorsAlone) {
  QuantOptions options = qat(8);
  options.asymmetric = true;
  const Graph graph = insert_fake_quant(parse(kResidual), options, int8_profile(), true);
  for (const char* name : {"input.q", "down.bn.q"}) {
    EXPECT_EQ(graph.find(name)->word("dtype", ""), "u8") << name;
    EXPECT_EQ(graph.find(name)->integer("zero_point", 0), 128) << name;
    EXPECT_EQ(graph.find(name)->integer("asymmetric", 0), 1) << name;
  }
  EXPECT_FALSE(graph.find("relu1.q")->has("zero_point"));
  EXPECT_FALSE(graph.find("conv2.weight.q")->has("zero_point"));
}

TEST(StripFakeQuant, GivesTheFloatGraphBack) {
  for (const char* text : {kPlain, kResidual, kBranches}) {
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

TEST(UseIntegerForward, PassesCodesThroughConcatDropoutAndAverages) {
  const Graph graph = use_integer_forward(parse(kBranchesQuantized));
  for (const char* name : {"stem", "one", "two", "tail"}) {
    EXPECT_EQ(graph.find(name)->op, "quantized_conv2d") << name;
  }
  for (const char* name : {"stem.act.q", "one.q", "two.act.q"}) {
    EXPECT_EQ(graph.find(name)->word("output", ""), "codes") << name;
  }
  EXPECT_EQ(graph.find("avg.q"), nullptr);
  EXPECT_EQ(graph.find("drop")->inputs[0], "avg");
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

TEST(FuseChains, MakesOneNodeOfWhatStandsBetweenTwoProducts) {
  const Graph quantized = insert_fake_quant(parse(kResidual), qat(8), int8_profile(), false);
  EXPECT_EQ(fuse_chains(use_integer_forward(quantized)).to_text(), parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
input.q = fake_quant(input, quantizer=static, bits=8, dtype=u8, qmin=0, qmax=255, output=codes)
conv1.weight = parameter(shape=4x3x3x3)
conv1.weight.q = fake_quant(conv1.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0, output=codes)
conv1 = quantized_conv2d(input.q, conv1.weight.q, pad=1)
relu1.q = fused_quant(conv1, low=0, quantizer=lsq, bits=8, dtype=u8, qmin=0, qmax=255, output=codes)
conv2.weight = parameter(shape=8x4x3x3)
conv2.weight.q = fake_quant(conv2.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0, output=codes)
conv2 = quantized_conv2d(relu1.q, conv2.weight.q, pad=1, stride=2)
down.weight = parameter(shape=8x4x1x1)
down.weight.q = fake_quant(down.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0, output=codes)
down = quantized_conv2d(relu1.q, down.weight.q, stride=2)
down.bn.q = fused_quant(down, norm=down.bn, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127, output=codes)
relu2.q = fused_quant(conv2, down.bn.q, norm=bn2, low=0, quantizer=lsq, bits=8, dtype=u8, qmin=0, qmax=255, output=codes)
gap = global_avg_pool(relu2.q)
flatten = flatten(gap)
fc.weight = parameter(shape=3x8)
fc.weight.q = fake_quant(fc.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0, output=codes)
fc = quantized_linear(flatten, fc.weight.q)
)")
                                                                       .to_text());
}

TEST(FuseChains, FusesReals) {
  EXPECT_EQ(fuse_chains(parse(kResidual)).to_text(), parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=4x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
relu1 = relu(conv1)
conv2.weight = parameter(shape=8x4x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1, stride=2)
down.weight = parameter(shape=8x4x1x1)
down = conv2d(relu1, down.weight, stride=2)
down.bn = batch_norm(down)
relu2 = fused(conv2, down.bn, norm=bn2, low=0)
gap = global_avg_pool(relu2)
flatten = flatten(gap)
fc.weight = parameter(shape=3x8)
fc = linear(flatten, fc.weight)
)")
                                                         .to_text());
}

// Attributes of every step; a batch norm over the input alone, whose gamma no network would reach;
// a batch norm with a second reader; an add whose chain is the shortcut, behind dropout; a sum of a
// value with itself.
TEST(FuseChains, KeepsAttributesAndLeavesWhatDoesNotFit) {
  EXPECT_EQ(fuse_chains(parse(R"(bitloom-graph 1
input = input(shape=4x8x8)
first = batch_norm(input)
first.act = relu(first)
w = parameter(shape=4x4x1x1)
a = conv2d(first.act, w)
a.bn = batch_norm(a, epsilon=0.01, momentum=0.2, frozen=1)
a.act = hardtanh(a.bn)
b = conv2d(a.act, w)
b.bn = batch_norm(b)
b.act = relu6(b.bn)
b.too = add(b.act, b.bn)
c = conv2d(b.too, w)
c.bn = batch_norm(c)
c.drop = dropout(c.bn)
c.sum = add(a.act, c.drop)
c.act = hardtanh(c.sum, low=0, high=2)
d = conv2d(c.act, w)
d.bn = batch_norm(d)
d.twice = add(d.bn, d.bn)
)"))
                .to_text(),
            parse(R"(bitloom-graph 1
input = input(shape=4x8x8)
first = batch_norm(input)
first.act = relu(first)
w = parameter(shape=4x4x1x1)
a = conv2d(first.act, w)
a.act = fused(a, norm=a.bn, epsilon=0.01, momentum=0.2, norm_frozen=1, low=-1, high=1)
b = conv2d(a.act, w)
b.bn = batch_norm(b)
b.act = relu6(b.bn)
b.too = add(b.act, b.bn)
c = conv2d(b.too, w)
c.bn = batch_norm(c)
c.drop = dropout(c.bn)
c.act = fused(a.act, c.drop, low=0, high=2)
d = conv2d(c.act, w)
d.bn = batch_norm(d)
d.twice = add(d.bn, d.bn)
)")
                .to_text());
}

std::vector<std::string> names_of(const Chain& chain) {
  std::vector<std::string> names;
  for (const layers::Node* node : chain.nodes) names.push_back(node->name);
  return names;
}

using Names = std::vector<std::string>;

TEST(Chains, FollowSingleReadersToTheQuantizer) {
  const Graph graph = parse(R"(bitloom-graph 1
input = input(shape=1x8x8)
a.weight = parameter(shape=4x1x3x3)
a = conv2d(input, a.weight)
a.bn = batch_norm(a)
a.act = relu6(a.bn)
a.q = fake_quant(a.act)
b.weight = parameter(shape=4x4x1x1)
b = conv2d(a.q, b.weight)
drop = dropout(b)
sum = add(drop, a.q)
sum.act = relu(sum)
twice = relu(sum.act)
again = add(sum.act, twice)
again.act = hardtanh(again)
out = flatten(again.act)
)");
  const std::vector<Chain> chains = chains_of(graph);
  ASSERT_EQ(chains.size(), 3U);
  EXPECT_EQ(names_of(chains[0]), (Names{"a", "a.bn", "a.act", "a.q"}));
  EXPECT_EQ(chains[0].bounds(), integer::kRelu6);
  EXPECT_EQ(chains[0].fake_quant, graph.find("a.q"));
  EXPECT_EQ(names_of(chains[1]), (Names{"b", "drop", "sum", "sum.act"}));
  EXPECT_EQ(chains[1].add, graph.find("sum"));
  EXPECT_EQ(chains[1].end, graph.find("sum.act"));  // which two nodes read
  EXPECT_EQ(names_of(chains[2]), (Names{"again", "again.act"}));
  EXPECT_EQ(chains[2].add, nullptr);
  EXPECT_EQ(chains[2].bounds(), (integer::Clip{.low = -1.0F, .high = 1.0F}));
}

TEST(Chains, StopWhereAnotherLayerBegins) {
  // A second batch norm, a branch that is the add's shortcut, an add of a value to itself, a pool.
  const Graph graph = parse(R"(bitloom-graph 1
input = input(shape=1x8x8)
a.weight = parameter(shape=4x1x3x3)
a = conv2d(input, a.weight)
a.bn = batch_norm(a)
a.bn2 = batch_norm(a.bn)
b.weight = parameter(shape=4x1x3x3)
b = conv2d(input, b.weight)
sum = add(a.bn2, b)
c.weight = parameter(shape=4x4x1x1)
c = conv2d(sum, c.weight)
double = add(c, c)
d.weight = parameter(shape=4x4x1x1)
d = conv2d(double, d.weight)
pool = max_pool(d, kernel=2)
act = relu(pool)
)");
  const std::vector<Chain> chains = chains_of(graph);
  std::vector<Names> found;
  for (const Chain& chain : chains) found.push_back(names_of(chain));
  EXPECT_EQ(found, (std::vector<Names>{{"a", "a.bn"}, {"b"}, {"sum"}, {"c"}, {"double"}, {"d"}}));
}

}  // namespace
}  // namespace bitloom::quant
