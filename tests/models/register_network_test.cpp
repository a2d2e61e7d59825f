#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/models/networks.h"
#include "support/error_matchers.h"

namespace bitloom::models {
namespace {

layers::Graph one_layer(const NetworkShape& shape) {
  return layers::Graph::parse(
      cat("bitloom-graph 1\ninput = input(shape=", shape.channels, "x", shape.height, "x",
          shape.width, ")\nflatten = flatten(input)\nfc.weight = parameter(shape=", shape.classes,
          "x", shape.channels * shape.height * shape.width,
          ")\nfc = linear(flatten, fc.weight, bias=1)\n"),
      "test");
}

TEST(RegisterNetwork, NameThenBuildsIt) {
  register_network("one-layer_v1.0", one_layer);
  EXPECT_THAT(network_names(), testing::Contains("one-layer_v1.0"));
  const layers::Graph graph =
      build_network("one-layer_v1.0", {.channels = 2, .height = 3, .width = 4, .classes = 5});
  EXPECT_EQ(graph.find("fc.weight")->word("shape", ""), "5x24");
  EXPECT_ERROR(ConfigError, register_network("one-layer_v1.0", one_layer), "not taken");
}

TEST(RegisterNetwork, RefusesNamesThatAConfigurationCannotHold) {
  EXPECT_ERROR(ConfigError, register_network("lenet5", one_layer), "'lenet5'");
  for (const char* name : {"", "a b", "a,b", "a#b", "a=b", "\n"}) {
    EXPECT_ERROR(ConfigError, register_network(name, one_layer), "letters, digits");
  }
}

}  // namespace
}  // namespace bitloom::models
