// Where quantizers of one and two bits go: text in, text out.
#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/quant/level_methods.h"
#include "bitloom/quant/passes.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;

Graph parse(const char* text) { return Graph::parse(text, "test"); }

const integer::DeviceProfile& int8_profile() { return integer::profile_named("int8"); }

QuantOptions one_bit(const char* quantizer) {
  return {.method = "qat", .quantizer = quantizer, .weight_bits = 1, .activation_bits = 1};
}

QuantOptions weights_only(const char* quantizer, int bits) {
  return {.method = "qat", .quantizer = quantizer, .weight_bits = bits, .activation_bits = 32};
}

// Block order BN-hardtanh-conv-pool.
constexpr const char* kBlocks = R"(bitloom-graph 1
input = input(shape=1x8x8)
conv1.weight = parameter(shape=4x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
act1 = hardtanh(bn1)
conv2.weight = parameter(shape=4x4x3x3)
conv2 = conv2d(act1, conv2.weight, stride=2, pad=1)
pool2 = max_pool(conv2, kernel=2)
bn2 = batch_norm(pool2)
act2 = hardtanh(bn2)
flatten = flatten(act2)
fc1.weight = parameter(shape=8x16)
fc1 = linear(flatten, fc1.weight)
bn3 = batch_norm(fc1)
act3 = hardtanh(bn3)
fc2.weight = parameter(shape=3x8)
fc2 = linear(act3, fc2.weight)
)";

// Shortcuts of reals around each convolution.
constexpr const char* kRealShortcuts = R"(bitloom-graph 1
input = input(shape=1x8x8)
stem.weight = parameter(shape=4x1x3x3)
stem = conv2d(input, stem.weight, pad=1)
act1 = hardtanh(stem)
conv1.weight = parameter(shape=4x4x3x3)
conv1 = conv2d(act1, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
add1 = add(bn1, stem)
conv2.weight = parameter(shape=4x4x3x3)
conv2 = conv2d(add1, conv2.weight, pad=1)
add2 = add(conv2, add1)
gap = global_avg_pool(add2)
flatten = flatten(gap)
fc.weight = parameter(shape=3x4)
fc = linear(flatten, fc.weight)
)";

TEST(InsertSigns, TakeThePlaceOfHardtanh) {
  const Graph graph = insert_fake_quant(parse(kBlocks), one_bit("bnn"), int8_profile(), true);
  EXPECT_EQ(graph.to_text(), parse(R"(bitloom-graph 1
input = input(shape=1x8x8)
input.q = fake_quant(input, quantizer=static, bits=8, dtype=s8, qmin=-128, qmax=127)
conv1.weight = parameter(shape=4x1x3x3)
conv1.weight.q = fake_quant(conv1.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
conv1 = conv2d(input.q, conv1.weight.q, pad=1)
bn1 = batch_norm(conv1)
act1.q = fake_quant(bn1, quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary, replaces=hardtanh)
conv2.weight = parameter(shape=4x4x3x3)
conv2.weight.q = fake_quant(conv2.weight, quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary, weight=1, bound=1)
conv2 = conv2d(act1.q, conv2.weight.q, stride=2, pad=1)
pool2 = max_pool(conv2, kernel=2)
bn2 = batch_norm(pool2)
act2.q = fake_quant(bn2, quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary, replaces=hardtanh)
flatten = flatten(act2.q)
fc1.weight = parameter(shape=8x16)
fc1.weight.q = fake_quant(fc1.weight, quantizer=bnn, bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary, weight=1, bound=1)
fc1 = linear(flatten, fc1.weight.q)
bn3 = batch_norm(fc1)
act3 = hardtanh(bn3)
act3.q = fake_quant(act3, quantizer=lsq, bits=8, dtype=s8, qmin=-128, qmax=127)
fc2.weight = parameter(shape=3x8)
fc2.weight.q = fake_quant(fc2.weight, quantizer=lsq, bits=8, dtype=s8, qmin=-127, qmax=127, axis=0)
fc2 = linear(act3.q, fc2.weight.q)
)")
                                 .to_text());
}

TEST(InsertSigns, LeaveShortcutsReal) {
  QuantOptions options = one_bit("bi-real");
  options.first_last_bits = 32;
  const Graph graph = insert_fake_quant(parse(kRealShortcuts), options, int8_profile(), true);
  EXPECT_EQ(graph.find("conv1")->inputs[0], "act1.q");
  EXPECT_EQ(graph.find("act1.q")->inputs[0], "stem");
  EXPECT_EQ(graph.find("act1"), nullptr);
  EXPECT_EQ(graph.find("add1")->inputs, (std::vector<std::string>{"bn1", "stem"}));
  EXPECT_EQ(graph.find("conv2")->inputs[0], "add1.q");
  EXPECT_EQ(graph.find("add2")->inputs, (std::vector<std::string>{"conv2", "add1"}));
  EXPECT_EQ(graph.find("conv1.weight.q")->word("axis", ""), "0");
  for (const char* real : {"stem.weight.q", "fc.weight.q", "input.q", "gap.q", "add2.q"}) {
    EXPECT_EQ(graph.find(real), nullptr) << real;
  }
}

TEST(InsertSigns, RoundTheEndsWhereTheyHaveAWidth) {
  const Graph graph =
      insert_fake_quant(parse(kRealShortcuts), one_bit("reactnet"), int8_profile(), true);
  EXPECT_EQ(graph.find("add1.q")->word("quantizer", ""), "rsign");
  EXPECT_EQ(graph.find("conv2.weight.q")->word("quantizer", ""), "bi-real");
  EXPECT_EQ(graph.find("gap.q")->word("quantizer", ""), "lsq");
  EXPECT_EQ(graph.find("flatten")->inputs[0], "gap.q");
  EXPECT_EQ(graph.find("fc.weight.q")->integer("bits", 0), 8);
}

TEST(InsertSigns, ScaleXnorLayersByTheirInputsMagnitudes) {
  const Graph graph = insert_fake_quant(parse(kBlocks), one_bit("xnor"), int8_profile(), true);
  EXPECT_EQ(graph.find("conv1.k"), nullptr);  // the first layer has 8 bits
  const layers::Node* map = graph.find("conv2.k");
  ASSERT_NE(map, nullptr);
  EXPECT_EQ(map->inputs, (std::vector<std::string>{"bn1"}));
  EXPECT_EQ(map->integer("kernel", 0), 3);
  EXPECT_EQ(map->integer("stride", 0), 2);
  EXPECT_EQ(map->integer("pad", 0), 1);
  EXPECT_EQ(graph.find("conv2.scaled")->inputs, (std::vector<std::string>{"conv2", "conv2.k"}));
  EXPECT_EQ(graph.find("pool2")->inputs[0], "conv2.scaled");
  // A product behind flatten is signed there, so that its map is of what it reads.
  EXPECT_EQ(graph.find("fc1")->inputs[0], "flatten.q");
  EXPECT_EQ(graph.find("fc1.k")->inputs[0], "flatten");
  EXPECT_EQ(graph.find("bn3")->inputs[0], "fc1.scaled");
}

TEST(InsertSigns, AreRefusedBehindARelu) {
  const char* relu = R"(bitloom-graph 1
input = input(shape=1x8x8)
conv1.weight = parameter(shape=4x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
relu1 = relu(conv1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=4x4x3x3)
conv2 = conv2d(pool1, conv2.weight)
flatten = flatten(conv2)
fc.weight = parameter(shape=3x16)
fc = linear(flatten, fc.weight)
)";
  EXPECT_ERROR(ConfigError, insert_fake_quant(parse(relu), one_bit("bnn"), int8_profile(), true),
               "conv2: expected an input of both signs", "relu relu1", "vgg_small_xnor");
}

TEST(InsertFakeQuant, PutsNodesOnWeightsAloneWhereActivationsStayReal) {
  const Graph graph =
      insert_fake_quant(parse(kBlocks), weights_only("ttq", 2), int8_profile(), true);
  EXPECT_EQ(graph.find("conv2.weight.q")->word("quantizer", ""), "ttq");
  EXPECT_EQ(graph.find("conv2.weight.q")->word("grid", ""), "ternary");
  EXPECT_EQ(graph.find("conv2.weight.q")->integer("weight", 0), 1);
  EXPECT_EQ(graph.find("conv1.weight.q")->word("quantizer", ""), "lsq");
  EXPECT_EQ(graph.find("input.q"), nullptr);
  EXPECT_EQ(graph.find("act1.q"), nullptr);
  QuantOptions real_ends = weights_only("twn", 2);
  real_ends.first_last_bits = 32;
  const Graph real = insert_fake_quant(parse(kBlocks), real_ends, int8_profile(), true);
  EXPECT_EQ(real.find("conv1.weight.q"), nullptr);
  EXPECT_EQ(real.find("fc2.weight.q"), nullptr);
  EXPECT_EQ(real.find("conv2.weight.q")->word("axis", ""), "0");
}

TEST(InsertFakeQuant, GivesTernaryWeightsRoundedActivations) {
  QuantOptions options = weights_only("twn", 2);
  options.activation_bits = 4;
  const Graph graph = insert_fake_quant(parse(kBlocks), options, int8_profile(), true);
  EXPECT_EQ(graph.find("act1.q")->word("quantizer", ""), "lsq");
  EXPECT_EQ(graph.find("act1.q")->integer("bits", 0), 4);
  EXPECT_EQ(graph.find("conv2.weight.q")->word("quantizer", ""), "twn");
}

// What is stripped is the float graph, whatever was put in.
TEST(StripFakeQuant, UndoesEveryMethod) {
  std::size_t checked = 0;
  for (const char* text : {kBlocks, kRealShortcuts}) {
    for (const LevelMethod& method : level_methods()) {
      for (const int activation_bits : {1, 4, 32}) {
        if (activation_bits == 1 && method.signs.empty()) continue;
        QuantOptions options = weights_only("", method.weight_bits());
        options.quantizer = std::string(method.word);
        options.activation_bits = activation_bits;
        options.shift_batch_norm = true;
        const Graph graph = insert_fake_quant(parse(text), options, int8_profile(), true);
        EXPECT_EQ(graph.find("bn1")->op, "shift_batch_norm");
        EXPECT_EQ(strip_fake_quant(graph).to_text(), parse(text).to_text()) << method.word;
        ++checked;
      }
    }
  }
  EXPECT_EQ(checked, 2 * (3 * level_methods().size() - 1));
}

TEST(IntegerForward, RunsSignsOnCodesAndTwoScalesOnReals) {
  const Graph signs =
      use_integer_forward(insert_fake_quant(parse(kBlocks), one_bit("bnn"), int8_profile(), true));
  EXPECT_EQ(signs.find("conv2")->op, "quantized_conv2d");
  EXPECT_EQ(signs.find("act1.q")->word("output", ""), "codes");
  EXPECT_EQ(signs.find("fc1")->op, "quantized_linear");
  QuantOptions options = weights_only("ttq", 2);
  options.activation_bits = 8;
  const Graph pairs =
      use_integer_forward(insert_fake_quant(parse(kBlocks), options, int8_profile(), true));
  EXPECT_EQ(pairs.find("conv2")->op, "conv2d");
  EXPECT_FALSE(pairs.find("act1.q")->has("output"));
  EXPECT_EQ(pairs.find("conv1")->op, "quantized_conv2d");
}

struct Contradiction {
  const char* name;
  QuantOptions options;
  const char* place;
};
void PrintTo(const Contradiction& of, std::ostream* out) { *out << of.name; }
class LevelContradictions : public testing::TestWithParam<Contradiction> {};

TEST_P(LevelContradictions, AreNamed) {
  const std::vector<ErrorText> errors = contradictions(GetParam().options);
  ASSERT_EQ(errors.size(), 1U);
  EXPECT_EQ(errors[0].place, GetParam().place);
  EXPECT_ERROR(ConfigError,
               insert_fake_quant(parse(kBlocks), GetParam().options, int8_profile(), true),
               GetParam().place);
}

INSTANTIATE_TEST_SUITE_P(
    Options, LevelContradictions,
    testing::Values(Contradiction{"bnn_with_8_bits",
                                  {.method = "qat", .quantizer = "bnn"},
                                  "quant.weight_bits"},
                    Contradiction{"twn_with_1_bit", weights_only("twn", 1), "quant.weight_bits"},
                    Contradiction{"lsq_with_1_bit",
                                  {.method = "qat", .quantizer = "lsq", .weight_bits = 1},
                                  "quant.weight_bits"},
                    Contradiction{"ptq_with_1_bit",
                                  {.method = "ptq-static", .weight_bits = 1},
                                  "quant.weight_bits"},
                    Contradiction{"lsq_with_signs",
                                  {.method = "qat", .quantizer = "lsq", .activation_bits = 1},
                                  "quant.activation_bits"},
                    Contradiction{"dorefa_with_signs", one_bit("dorefa"), "quant.activation_bits"},
                    Contradiction{"ptq_with_reals",
                                  {.method = "ptq-static", .activation_bits = 32},
                                  "quant.activation_bits"},
                    Contradiction{"real_ends_of_codes",
                                  {.method = "qat", .quantizer = "lsq", .first_last_bits = 32},
                                  "quant.first_last_bits"},
                    Contradiction{"powers_of_two",
                                  {.method = "qat",
                                   .quantizer = "bnn",
                                   .power_of_two = true,
                                   .weight_bits = 1,
                                   .activation_bits = 1},
                                  "quant.power_of_two"}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace bitloom::quant
