#include "bitloom/models/networks.h"

#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/layers/network.h"
#include "support/error_matchers.h"

namespace bitloom::models {
namespace {

std::int64_t trained_values(const layers::ParameterStore& store) {
  std::int64_t sum = 0;
  for (const auto& [name, parameter] : store.all()) {
    if (layers::is_trainable(parameter.role)) sum += parameter.value.elements();
  }
  return sum;
}

TEST(Lenet5, PrintsItsLayers) {
  EXPECT_EQ(lenet5({}).to_text(),
            "bitloom-graph 1\n"
            "input = input(shape=1x28x28)\n"
            "conv1.weight = parameter(shape=32x1x5x5)\n"
            "conv1 = conv2d(input, conv1.weight, pad=2)\n"
            "bn1 = batch_norm(conv1)\n"
            "relu1 = relu(bn1)\n"
            "pool1 = max_pool(relu1, kernel=2)\n"
            "conv2.weight = parameter(shape=64x32x5x5)\n"
            "conv2 = conv2d(pool1, conv2.weight, pad=2)\n"
            "bn2 = batch_norm(conv2)\n"
            "relu2 = relu(bn2)\n"
            "pool2 = max_pool(relu2, kernel=2)\n"
            "flatten = flatten(pool2)\n"
            "fc1.weight = parameter(shape=512x3136)\n"
            "fc1 = linear(flatten, fc1.weight, bias=1)\n"
            "relu3 = relu(fc1)\n"
            "fc2.weight = parameter(shape=10x512)\n"
            "fc2 = linear(relu3, fc2.weight, bias=1)\n");
}

// 32*25 + 64*32*25 + 3136*512 + 512 + 512*10 + 10, and gamma and beta of 32 + 64 channels.
TEST(Lenet5, HasItsParameters) {
  layers::ParameterStore store(1);
  const layers::Network network(lenet5({}), layers::float_layers(), store, {.batch = 2});
  EXPECT_EQ(trained_values(store), 800 + 51200 + 1605632 + 512 + 5120 + 10 + 2 * 96);
  EXPECT_EQ(network.edge("fc2").shape, (Shape{2, 10}));
}

// Convolutions 3*16*9, 2*16*16*9, 16*32*9 + 32*32*9 + 16*32, 32*64*9 + 64*64*9 + 32*64; FC
// 64*10+10; gamma and beta of 16*3 + 32*3 + 64*3 channels. (MLPerf Tiny's 78,666 counts convolution
// biases and running statistics too, and has no batch norm on the shortcuts.)
TEST(Resnet8, HasItsParametersAndShapes) {
  layers::ParameterStore store(1);
  const layers::Network network(resnet8({.channels = 3, .height = 32, .width = 32}),
                                layers::float_layers(), store, {.batch = 2});
  EXPECT_EQ(trained_values(store),
            432 + 4608 + 4608 + 9216 + 512 + 18432 + 36864 + 2048 + 650 + 2 * (48 + 96 + 192));
  EXPECT_EQ(network.edge("block1.add").shape, (Shape{2, 16, 32, 32}));
  EXPECT_EQ(network.edge("block2.add").shape, (Shape{2, 32, 16, 16}));
  EXPECT_EQ(network.edge("block3.add").shape, (Shape{2, 64, 8, 8}));
  EXPECT_EQ(network.edge("fc").shape, (Shape{2, 10}));
}

// He et al. count 0.27, 0.46 and 0.85 M with parameter-free shortcuts; the two projections add
// 16*32 + 32*64 weights and 2 * (32 + 64) of batch norm.
TEST(ResnetCifar, HasThePublishedSizes) {
  const auto count = [](const char* name) {
    layers::ParameterStore store(1);
    const layers::Network network(build_network(name, {.channels = 3, .height = 32, .width = 32}),
                                  layers::float_layers(), store, {.batch = 1, .training = false});
    return trained_values(store);
  };
  constexpr std::int64_t kProjections = 16 * 32 + 32 * 64 + 2 * (32 + 64);
  EXPECT_EQ(count("resnet20") - kProjections, 269722);
  EXPECT_EQ(count("resnet32") - kProjections, 464154);
  EXPECT_EQ(count("resnet56") - kProjections, 853018);
}

TEST(Resnet8, AddsTheShortcutSecond) {
  const layers::Graph graph = resnet8({.channels = 3, .height = 32, .width = 32});
  EXPECT_THAT(graph.find("block1.add")->inputs, testing::ElementsAre("block1.bn2", "stem.relu"));
  EXPECT_THAT(graph.find("block2.add")->inputs,
              testing::ElementsAre("block2.bn2", "block2.shortcut.bn"));
}

TEST(Networks, TextIsWhatTheBuilderMade) {
  ASSERT_FALSE(network_names().empty());
  for (const std::string& name : network_names()) {
    const std::string text = build_network(name, {}).to_text();
    EXPECT_EQ(layers::Graph::parse(text, name).to_text(), text);
  }
}

TEST(Networks, SayWhatTheyWereMadeFor) {
  EXPECT_EQ(native_shape("inception_v3").height, 299);
  EXPECT_EQ(native_shape("resnet152").classes, 1000);
  EXPECT_EQ(native_shape("lenet5").channels, 1);
  for (const std::string& name : network_names()) {
    const layers::Graph graph = build_network(name, native_shape(name));
    EXPECT_GT(graph.nodes().size(), 5U) << name;
  }
}

TEST(Networks, RefuseWhatCannotBe) {
  EXPECT_ERROR(ConfigError, build_network("lenet6", {}), "model.network",
               "expected one of lenet5, resnet8, ", "'lenet6'");
  EXPECT_ERROR(ConfigError, lenet5({.classes = 0}), "at least 1");
  EXPECT_ERROR(ConfigError, lenet5({.height = 1, .width = 1}), "pool1", "found 1x1");
}

}  // namespace
}  // namespace bitloom::models
