#include "bitloom/layers/graph.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::layers {
namespace {

constexpr const char* kNormalText =
    "bitloom-graph 1\n"
    "input = input(shape=1x28x28)\n"
    "conv1.weight = parameter(shape=32x1x5x5)\n"
    "conv1 = conv2d(input, conv1.weight, pad=2)\n"
    "relu1 = relu(conv1)\n";

TEST(Graph, PrintsWhatItParsed) {
  EXPECT_EQ(Graph::parse(kNormalText, "x.net").to_text(), kNormalText);
}

TEST(Graph, NormalizesBlanksCommentsAndLineEnds) {
  const Graph graph = Graph::parse(
      "\n# a network\r\n"
      "bitloom-graph   1\r\n"
      "  input   =  input ( shape = 1x28x28 )  # pixels\r\n"
      "\n"
      "conv1.weight = parameter(shape=32x1x5x5)\n"
      "conv1=conv2d(input,conv1.weight,pad=2)\n"
      "\trelu1 = relu( conv1 )",  // no newline at the end
      "x.net");
  EXPECT_EQ(graph.to_text(), kNormalText);
}

TEST(Graph, KeepsOrderOfNodesInputsAndAttributes) {
  const Graph graph = Graph::parse(kNormalText, "x.net");
  ASSERT_EQ(graph.nodes().size(), 4U);
  const Node& conv = *graph.find("conv1");
  EXPECT_EQ(conv.op, "conv2d");
  EXPECT_THAT(conv.inputs, testing::ElementsAre("input", "conv1.weight"));
  EXPECT_EQ(graph.output().name, "relu1");
  EXPECT_THAT(graph.readers("conv1.weight"), testing::ElementsAre("conv1"));
  EXPECT_THAT(graph.readers("relu1"), testing::IsEmpty());
  EXPECT_EQ(graph.find("conv2"), nullptr);
}

TEST(Graph, ReadsAttributes) {
  const Node node{"n", "op", {}, {{"pad", "-2"}, {"epsilon", "1e-5"}, {"mode", "ema"}}};
  EXPECT_EQ(node.integer("pad", 7), -2);
  EXPECT_EQ(node.integer("stride", 7), 7);
  EXPECT_DOUBLE_EQ(node.real("epsilon", 1.0), 1e-5);
  EXPECT_EQ(node.word("mode", "x"), "ema");
  EXPECT_EQ(node.word("other", "x"), "x");
  EXPECT_ERROR(ConfigError, node.integer("mode", 0), "n: attribute mode", "expected a whole number",
               "found 'ema'");
  EXPECT_ERROR(ConfigError, node.integer("epsilon", 0), "whole number");
  const Node bad{"n", "op", {}, {{"a", "nan"}, {"b", "1e999"}, {"c", "9999999999999999999"}}};
  EXPECT_ERROR(ConfigError, bad.real("a", 0), "finite");
  EXPECT_ERROR(ConfigError, bad.real("b", 0), "finite");
  EXPECT_ERROR(ConfigError, bad.integer("c", 0), "whole number");
}

TEST(Graph, ReadsShapes) {
  const Node node{"n",
                  "op",
                  {},
                  {{"a", "10"},
                   {"b", "10x512"},
                   {"c", "1x28x28"},
                   {"d", "32x1x5x5"},
                   {"e", "1x2x3x4x5"},
                   {"f", "3x"},
                   {"g", "0x2"},
                   {"h", "-1x2"}}};
  EXPECT_EQ(node.shape("a"), Shape{10});
  EXPECT_EQ(node.shape("b"), (Shape{10, 512}));
  EXPECT_EQ(node.shape("c"), (Shape{1, 1, 28, 28}));
  EXPECT_EQ(node.shape("d"), (Shape{32, 1, 5, 5}));
  for (const char* key : {"e", "f", "g", "h"}) {
    EXPECT_ERROR(ConfigError, node.shape(key), "n: attribute", "expected a shape like");
  }
  EXPECT_ERROR(ConfigError, node.shape("absent"), "found none");
  EXPECT_EQ(shape_text({1, 1, 28, 28}, true), "1x28x28");
  EXPECT_EQ(shape_text({32, 1, 5, 5}, false), "32x1x5x5");
  EXPECT_EQ(shape_text({10, 512}, false), "10x512");
}

TEST(Graph, SetReplacesOrAppends) {
  Node node{"n", "op", {}, {{"pad", "2"}}};
  node.set("pad", "3");
  node.set("stride", "2");
  EXPECT_EQ(node.integer("pad", 0), 3);
  EXPECT_EQ(node.integer("stride", 1), 2);
  EXPECT_EQ(node.attributes.size(), 2U);
}

TEST(Graph, AddRefusesWhatTextCouldNotHold) {
  Graph graph;
  graph.add({"x", "input", {}, {{"shape", "1x2x2"}}});
  EXPECT_ERROR(ConfigError, graph.add({"x", "relu", {"x"}, {}}), "x: expected a name that no");
  EXPECT_ERROR(ConfigError, graph.add({"y", "relu", {"z"}, {}}), "y: expected", "found 'z'");
  EXPECT_ERROR(ConfigError, graph.add({"y y", "relu", {"x"}, {}}), "letters, digits");
  EXPECT_ERROR(ConfigError, graph.add({"", "relu", {"x"}, {}}), "letters, digits");
  EXPECT_ERROR(ConfigError, graph.add({"y", "relu", {"x"}, {{"a", "1,2"}}}), "found 'a=1,2'");
  EXPECT_EQ(graph.nodes().size(), 1U);
}

struct BadText {
  const char* name;
  const char* text;
  const char* message;
};

void PrintTo(const BadText& what, std::ostream* out) { *out << what.name; }

class BadGraph : public testing::TestWithParam<BadText> {};

TEST_P(BadGraph, IsAnErrorWithSourceAndLine) {
  EXPECT_ERROR(FormatError, Graph::parse(GetParam().text, "bad.net"), GetParam().message);
}

const BadText kBadTexts[] = {
    {"empty", "", "bad.net: expected 'bitloom-graph 1' and at least one node, found an empty text"},
    {"only_header", "bitloom-graph 1\n",
     "bad.net: expected 'bitloom-graph 1' and at least one node"},
    {"no_header", "\nx = input(shape=1)\n", "bad.net:2: expected 'bitloom-graph 1' as first line"},
    {"no_version", "bitloom-graph\n", "bad.net:1: expected a version number"},
    {"newer", "bitloom-graph 2\nx = input(shape=1)\n",
     "bad.net:1: expected graph version 1 to 1, found 2; update"},
    {"no_equals", "bitloom-graph 1\nrelu(x)\n", "bad.net:2: expected 'name = op("},
    {"no_parenthesis", "bitloom-graph 1\nx = input\n", "bad.net:2: expected 'name = op("},
    {"open_end", "bitloom-graph 1\nx = input(shape=1\n", "bad.net:2: expected ')' at the end"},
    {"text_after", "bitloom-graph 1\nx = input(shape=1) y\n", "bad.net:2: expected ')' at the end"},
    {"bad_name", "bitloom-graph 1\nx-y = input(shape=1)\n",
     "bad.net:2: expected a node name of letters, digits, '_' and '.', found 'x-y'"},
    {"no_op", "bitloom-graph 1\nx = (shape=1)\n", "bad.net:2: expected an operation"},
    {"empty_input", "bitloom-graph 1\nx = input(shape=1)\ny = add(x,)\n",
     "bad.net:3: expected an input name"},
    {"no_value", "bitloom-graph 1\nx = input(shape=)\n",
     "bad.net:2: expected a value for attribute shape"},
    {"twice", "bitloom-graph 1\nx = input(shape=1, shape=2)\n",
     "bad.net:2: expected attribute shape once, found it twice"},
    {"input_after_attribute", "bitloom-graph 1\nx = input(shape=1)\ny = relu(a=1, x)\n",
     "bad.net:3: expected inputs before attributes, found 'x'"},
    {"undefined", "bitloom-graph 1\nx = input(shape=1)\ny = relu(z)\n",
     "bad.net:3: y: expected inputs that are defined before, found 'z'"},
    {"itself", "bitloom-graph 1\ny = relu(y)\n", "bad.net:2: y: expected inputs that are defined"},
    {"duplicate", "bitloom-graph 1\nx = input(shape=1)\nx = relu(x)\n",
     "bad.net:3: x: expected a name that no earlier node has"},
};

INSTANTIATE_TEST_SUITE_P(Texts, BadGraph, testing::ValuesIn(kBadTexts),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace bitloom::layers
