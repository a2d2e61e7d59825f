// Networks with fused chains against the same networks layer by layer.
#include "bitloom/layers/fused_chain.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "bitloom/core/error.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"
#include "support/error_matchers.h"
#include "support/residual_graph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;
using layers::Phase;

constexpr std::int64_t kBatch = 5;

// Two identical copies of a calibrated network: one runs fused, one layer by layer.
struct Twin {
  Twin(const Graph& plain, const QuantOptions& options, const std::string& profile)
      : images(random_images(kBatch)) {
    const Network declared(plain, layers::float_layers(), store, {.batch = kBatch});
    graph = insert_fake_quant(plain, options, integer::profile_named(profile), true);
    graph = calibrate(graph, store, [&](const auto& use) { use(images.view()); }, kBatch, {});
    start_quantizers(graph, store);
  }
  ParameterStore store{7};
  Tensor images;
  Graph graph;
};

struct Results {
  Tensor logits;
  std::size_t memory_bytes;
};

// Two steps without an optimizer: followed ranges move, gradients are those of the second.
Results train(const Graph& graph, Twin& twin) {
  Network network(graph, quantized_layers(), twin.store, {.batch = kBatch});
  Tensor gradient(DType::kF32, network.edge(graph.output().name).shape);
  for (std::int64_t i = 0; i < gradient.elements(); ++i) {
    gradient.data<float>()[i] = 0.01F * static_cast<float>(i % 4 - 1);
  }
  ConstTensorView logits;
  for (int step = 0; step < 2; ++step) {
    logits = network.forward(twin.images, Phase::kTrain);
    network.backward(gradient);
  }
  Tensor kept(DType::kF32, logits.shape());
  copy(logits, kept);
  return {std::move(kept), network.memory_bytes()};
}

void expect_same(const Tensor& a, const Tensor& b, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  EXPECT_EQ(std::memcmp(a.raw(), b.raw(), a.bytes()), 0) << what;
}

// The same kernels round the same values in the same order, so all is equal bit for bit but sums
// over a whole tensor: what learned scales are told.
void expect_twins(const Graph& fused, Twin& a, const Graph& layered, Twin& b) {
  const Results found = train(fused, a);
  const Results wanted = train(layered, b);
  EXPECT_LE(found.memory_bytes, wanted.memory_bytes);
  expect_same(found.logits, wanted.logits, "logits");
  for (const auto& [name, parameter] : a.store.all()) {
    const layers::Parameter& twin = b.store.at(name);
    expect_same(parameter.value, twin.value, name);
    if (!layers::is_trainable(parameter.role)) continue;
    const bool of_grid = parameter.role == layers::Role::kQuantizerScale ||
                         parameter.role == layers::Role::kQuantizerOffset;
    if (!of_grid) {
      expect_same(parameter.gradient, twin.gradient, name + " gradient");
      continue;
    }
    for (std::int64_t i = 0; i < parameter.gradient.elements(); ++i) {
      const float expected = twin.gradient.data<float>()[i];
      EXPECT_NEAR(parameter.gradient.data<float>()[i], expected, 1e-4F * std::abs(expected) + 1e-7F)
          << name;
    }
  }
}

int count(const Graph& graph, const std::string& op) {
  int found = 0;
  for (const layers::Node& node : graph.nodes()) found += node.op == op;
  return found;
}

Graph residual_graph() { return Graph::parse(residual_text(), "test"); }

TEST(FusedChains, GiveTheBitsOfTheLayersTheyReplace) {
  for (const char* quantizer : {"lsq", "lsq+", "ema", "pact", "dorefa", "static"}) {
    for (const char* profile : {"int8", "int8-reduced"}) {
      SCOPED_TRACE(cat(quantizer, " ", profile));
      const QuantOptions options{.method = "qat", .quantizer = quantizer};
      Twin a(residual_graph(), options, profile);
      Twin b(residual_graph(), options, profile);
      const Graph fused = training_graph(a.graph, "integer");
      // bn1 > relu1, down.bn, bn2 > add1 > relu2, each with its quantizer.
      EXPECT_EQ(count(fused, "fused_quant"), 3);
      EXPECT_EQ(count(fused, "batch_norm") + count(fused, "relu") + count(fused, "quantized_add"),
                0);
      expect_twins(fused, a, use_integer_forward(b.graph), b);
    }
  }
}

// Low bits and a learned zero point clip at both ends; power-of-two scales; frozen ranges.
TEST(FusedChains, FollowTheirGridsInEveryVariant) {
  QuantOptions options{
      .method = "qat", .quantizer = "lsq+", .weight_bits = 3, .activation_bits = 2};
  options.power_of_two = true;
  options.asymmetric = true;
  for (const bool frozen : {false, true}) {
    Twin a(residual_graph(), options, "int8");
    Twin b(residual_graph(), options, "int8");
    if (frozen) {
      freeze_ranges(a.graph, a.store);
      freeze_ranges(b.graph, b.store);
    }
    expect_twins(training_graph(a.graph, "integer"), a, use_integer_forward(b.graph), b);
  }
}

// Frozen statistics, where the exported formula does not take the chain: ranges still move.
TEST(FusedChains, NormalizeByFrozenStatistics) {
  const QuantOptions options{.method = "qat", .quantizer = "ema"};
  Twin a(residual_graph(), options, "int8");
  Twin b(residual_graph(), options, "int8");
  const Graph fused = training_graph(freeze_batch_norm(a.graph), "integer");
  EXPECT_EQ(count(fused, "fused_quant"), 3);
  const Tensor mean = a.store.at("bn1.running_mean").value.clone();
  expect_twins(fused, a, use_integer_forward(freeze_batch_norm(b.graph)), b);
  expect_same(a.store.at("bn1.running_mean").value, mean, "running mean");
}

// Branches whose values share one grid: a joined node widens the owner's range.
TEST(FusedChains, ShareGrids) {
  const Graph plain = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
stem.weight = parameter(shape=8x3x3x3)
stem = conv2d(input, stem.weight, pad=1, stride=2)
stem.bn = batch_norm(stem)
stem.act = relu(stem.bn)
one.weight = parameter(shape=3x8x1x1)
one = conv2d(stem.act, one.weight)
one.act = relu6(one)
two.weight = parameter(shape=5x8x3x3)
two = conv2d(stem.act, two.weight, pad=1)
two.bn = batch_norm(two)
two.act = hardtanh(two.bn, low=-0.5, high=1)
cat = concat(one.act, two.act)
tail.weight = parameter(shape=4x8x1x1)
tail = conv2d(cat, tail.weight)
tail.bn = batch_norm(tail)
tail.act = relu(tail.bn)
gap = global_avg_pool(tail.act)
out = flatten(gap)
)",
                                   "test");
  for (const char* quantizer : {"lsq", "ema"}) {
    SCOPED_TRACE(quantizer);
    const QuantOptions options{.method = "qat", .quantizer = quantizer};
    Twin a(plain, options, "int8");
    Twin b(plain, options, "int8");
    const Graph fused = training_graph(a.graph, "integer");
    EXPECT_EQ(count(fused, "fused_quant"), 3);
    EXPECT_EQ(count(fused, "fused"), 1);  // tail.act, whose values stay real
    EXPECT_EQ(fused.find("two.act.q")->word("share", ""), "one.act.q");
    expect_twins(fused, a, use_integer_forward(b.graph), b);
  }
}

// A shortcut of codes whose sum stays real: the last block before the average.
TEST(FusedChains, AddCodesToReals) {
  const Graph plain = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
a.weight = parameter(shape=6x3x3x3)
a = conv2d(input, a.weight, pad=1)
a.bn = batch_norm(a)
a.act = relu(a.bn)
b.weight = parameter(shape=6x6x3x3)
b = conv2d(a.act, b.weight, pad=1)
b.bn = batch_norm(b)
sum = add(b.bn, a.act)
sum.act = relu(sum)
gap = global_avg_pool(sum.act)
out = flatten(gap)
)",
                                   "test");
  const QuantOptions options{.method = "qat", .quantizer = "lsq"};
  Twin a(plain, options, "int8");
  Twin b(plain, options, "int8");
  const Graph fused = training_graph(a.graph, "integer");
  EXPECT_EQ(fused.find("sum.act")->op, "fused");
  EXPECT_EQ(fused.find("sum.act")->inputs, (std::vector<std::string>{"b", "a.act.q"}));
  expect_twins(fused, a, use_integer_forward(b.graph), b);
}

TEST(FusedChains, TrainFloatNetworksBitForBit) {
  Twin a(residual_graph(), {.method = "qat"}, "int8");
  Twin b(residual_graph(), {.method = "qat"}, "int8");
  const Graph fused = training_graph(residual_graph(), "float");
  EXPECT_EQ(count(fused, "fused"), 2);
  expect_twins(fused, a, residual_graph(), b);
}

// Streams of reals whose signs the chain writes beside them: with a shortcut and without, with
// another reader and a pool, behind a rectifier; the last stream has no signs.
TEST(FusedChains, CarrySignsOfTheirReals) {
  const Graph plain = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
stem.weight = parameter(shape=8x3x3x3)
stem = conv2d(input, stem.weight, pad=1)
stem.bn = batch_norm(stem)
a.act = hardtanh(stem.bn)
a.weight = parameter(shape=8x8x3x3)
a = conv2d(a.act, a.weight, pad=1)
a.bn = batch_norm(a)
a.sum = add(a.bn, stem.bn)
b.act = hardtanh(a.sum)
b.weight = parameter(shape=8x8x3x3)
b = conv2d(b.act, b.weight, pad=1, stride=2)
b.bn = batch_norm(b)
b.pool = avg_pool(a.sum, kernel=3, stride=2, pad=1)
b.sum = add(b.bn, b.pool)
b.out = rprelu(b.sum)
c.act = hardtanh(b.out)
c.weight = parameter(shape=8x8x3x3)
c = conv2d(c.act, c.weight, pad=1)
c.bn = batch_norm(c)
c.sum = add(c.bn, b.out)
c.out = prelu(c.sum)
gap = global_avg_pool(c.out)
flat = flatten(gap)
fc.weight = parameter(shape=4x8)
fc = linear(flat, fc.weight, bias=1)
)",
                                   "test");
  for (const char* quantizer : {"bi-real", "reactnet"}) {
    SCOPED_TRACE(quantizer);
    const QuantOptions options{
        .method = "qat", .quantizer = quantizer, .weight_bits = 1, .activation_bits = 1};
    Twin a(plain, options, "int8");
    Twin b(plain, options, "int8");
    const Graph fused = training_graph(a.graph, "integer");
    EXPECT_EQ(count(fused, "carried_signs"), 3);
    EXPECT_EQ(count(fused, "rprelu") + count(fused, "prelu") + count(fused, "add"), 0);
    EXPECT_EQ(fused.find("b.out")->word("rectifier", ""), "rprelu");
    EXPECT_EQ(fused.find("c.out")->word("rectifier", ""), "prelu");
    expect_twins(fused, a, use_integer_forward(b.graph), b);
  }
}

// An average beside itself is one node, of reals (Bi-Real's shortcuts) and of codes.
TEST(FusedChains, RepeatAverages) {
  const auto graph_with = [](const char* pooled) {
    return Graph::parse(cat(R"(bitloom-graph 1
input = input(shape=3x8x8)
a.weight = parameter(shape=8x3x3x3)
a = conv2d(input, a.weight, pad=1)
a.bn = batch_norm(a)
a.act = hardtanh(a.bn)
b.weight = parameter(shape=16x8x3x3)
b = conv2d(a.act, b.weight, pad=1, stride=2)
b.bn = batch_norm(b)
pool = avg_pool()",
                            pooled, R"(, kernel=3, stride=2, pad=1)
twice = concat(pool, pool)
sum = add(b.bn, twice)
gap = global_avg_pool(sum)
flat = flatten(gap)
fc.weight = parameter(shape=4x16)
fc = linear(flat, fc.weight)
)"),
                        "test");
  };
  for (const char* quantizer : {"bi-real", "lsq"}) {
    SCOPED_TRACE(quantizer);
    const int bits = quantizer == std::string("lsq") ? 8 : 1;
    const Graph plain = graph_with(bits == 1 ? "a.bn" : "a.act");
    const QuantOptions options{
        .method = "qat", .quantizer = quantizer, .weight_bits = bits, .activation_bits = bits};
    Twin a(plain, options, "int8");
    Twin b(plain, options, "int8");
    const Graph fused = training_graph(a.graph, "integer");
    EXPECT_EQ(fused.find("twice")->op, "avg_pool");
    EXPECT_EQ(fused.find("twice")->integer("repeat", 1), 2);
    EXPECT_EQ(fused.find("pool"), nullptr);
    const Network network(fused, quantized_layers(), a.store, {.batch = kBatch});
    EXPECT_EQ(network.edge("twice").dtype == DType::kF32, bits == 1);
    expect_twins(fused, a, use_integer_forward(b.graph), b);
  }
}

// A product of signs leaves its sums to the batch norm behind it where bf16 holds each of them: up
// to 256, even ones up to 512.
TEST(FusedChains, TakeSumsThatBf16Holds) {
  struct SumsCase {
    int channels;
    const char* quantizer;
    int weight_bits;
    DType wanted;
  };
  for (const SumsCase& one :
       {SumsCase{28, "bi-real", 1, DType::kBf16}, SumsCase{29, "bi-real", 1, DType::kF32},
        SumsCase{56, "bi-real", 1, DType::kBf16}, SumsCase{58, "bi-real", 1, DType::kF32},
        SumsCase{28, "twn", 2, DType::kBf16}, SumsCase{30, "twn", 2, DType::kF32}}) {
    SCOPED_TRACE(cat(one.quantizer, " ", one.channels));
    const std::string c = std::to_string(one.channels);
    const Graph plain = Graph::parse(
        cat("bitloom-graph 1\ninput = input(shape=3x8x8)\nstem.weight = parameter(shape=", c,
            "x3x1x1)\nstem = conv2d(input, stem.weight)\nbn = batch_norm(stem)\n",
            "act = hardtanh(bn)\nb.weight = parameter(shape=6x", c, "x3x3)\n",
            "b = conv2d(act, b.weight, pad=1)\nb.bn = batch_norm(b)\n",
            "b.act = hardtanh(b.bn)\ngap = global_avg_pool(b.act)\n",
            "flat = flatten(gap)\nfc.weight = parameter(shape=4x6)\n",
            "fc = linear(flat, fc.weight)\n"),
        "test");
    const QuantOptions options{.method = "qat",
                               .quantizer = one.quantizer,
                               .weight_bits = one.weight_bits,
                               .activation_bits = 1};
    Twin a(plain, options, "int8");
    Twin b(plain, options, "int8");
    const Graph fused = training_graph(a.graph, "integer");
    EXPECT_EQ(fused.find("b")->word("sums", ""), "1");
    EXPECT_FALSE(fused.find("stem")->has("sums"));
    const Network network(fused, quantized_layers(), a.store, {.batch = kBatch});
    EXPECT_EQ(network.edge("b").dtype, one.wanted);
    expect_twins(fused, a, use_integer_forward(b.graph), b);
  }
}

TEST(FusedChains, LeaveTheSimulationAsItIs) {
  const Twin one(residual_graph(), {.method = "qat"}, "int8");
  EXPECT_EQ(training_graph(one.graph, "float").to_text(), one.graph.to_text());
}

TEST(FusedChains, RefuseWhatDoesNotFit) {
  const auto make = [](const char* last) {
    ParameterStore store(1);
    const Graph graph = Graph::parse(
        cat("bitloom-graph 1\ninput = input(shape=2x3x3)\nw = parameter(shape=4x2x1x1)\n",
            "c = conv2d(input, w)\np = max_pool(c, kernel=2)\n", last, "\n"),
        "test");
    const Network network(graph, quantized_layers(), store, {.batch = 2});
  };
  EXPECT_ERROR(ConfigError, make("y = fused(c, low=2, high=1)"), "low below high");
  EXPECT_ERROR(ShapeError, make("y = fused(c, p, low=0)"), "two inputs of one shape");
  EXPECT_ERROR(ConfigError, make("y = fused(c, c, c)"), "at most one shortcut");
  EXPECT_ERROR(ConfigError, make("y = fused(c, norm=b, epsilon=0)"), "above 0");
  EXPECT_ERROR(ConfigError, make("y = fused_quant(c, qmin=3, qmax=3, output=codes)"), "qmin");
  EXPECT_ERROR(ConfigError, make("y = avg_pool(c, kernel=2, repeat=0)"), "repeat of at least 1");
  EXPECT_ERROR(ConfigError, make("y = fused(c, rectifier=prelu)"), "behind a norm");
  EXPECT_ERROR(ConfigError, make("y = fused(c, norm=b, rectifier=prelu, low=0)"), "no clip");
  EXPECT_ERROR(ConfigError, make("y = fused(c, norm=b, rectifier=gelu)"), "prelu or rprelu");
  const char* signs =
      "quantizer=bi-real, bits=1, dtype=s8, grid=binary, qmin=-1, qmax=1, "
      "output=codes";
  EXPECT_ERROR(ConfigError, make(cat("y = carried_signs(c, ", signs, ")").c_str()),
               "stands behind batch_norm or fused");
  EXPECT_ERROR(ConfigError,
               make(cat("b = fused(c, norm=b, low=0)\ny = carried_signs(b, ", signs, ")").c_str()),
               "stands behind batch_norm or fused");
  EXPECT_ERROR(ConfigError, make("b = batch_norm(c)\ny = carried_signs(b, quantizer=lsq)"),
               "bi-real or rsign");
}

TEST(FusedChains, RefuseACollapsedScale) {
  Twin one(residual_graph(), {.method = "qat", .quantizer = "lsq"}, "int8");
  Network network(training_graph(one.graph, "integer"), quantized_layers(), one.store,
                  {.batch = kBatch});
  one.store.at("relu1.q.scale").value.data<float>()[0] = -0.1F;
  EXPECT_ERROR(NumericError, network.forward(one.images, Phase::kTrain), "relu1.q.scale");
}

}  // namespace
}  // namespace bitloom::quant
