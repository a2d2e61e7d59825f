// Networks of millions of weights: counts and shapes come from the graph alone, and a step runs on
// weights that cost nothing to draw.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "bitloom/core/random.h"
#include "bitloom/kernels/f32_conv2d.h"
#include "bitloom/kernels/f32_pool.h"
#include "bitloom/layers/network.h"
#include "bitloom/layers/window.h"
#include "bitloom/models/networks.h"

namespace bitloom::models {
namespace {

using layers::Graph;
using layers::Node;

constexpr NetworkShape kCifar{.channels = 3, .height = 32, .width = 32, .classes = 10};
constexpr NetworkShape kImageNet{.channels = 3, .height = 224, .width = 224, .classes = 1000};

// Shapes of all nodes at batch 1, without making a network.
std::map<std::string, Shape> shapes_of(const Graph& graph) {
  std::map<std::string, Shape> shapes;
  for (const Node& node : graph.nodes()) {
    const auto in = [&](std::size_t k) { return shapes.at(node.inputs[k]); };
    Shape& shape = shapes[node.name];
    if (node.inputs.empty()) {
      shape = node.shape("shape");
    } else if (node.op == "conv2d") {
      shape = kernels::conv2d_output(
          node.name, {.source = in(0), .weight = in(1), .window = layers::conv_window(node)});
    } else if (node.op == "linear") {
      EXPECT_EQ(in(0).c(), in(1).c()) << node.name;
      shape = {1, in(1).n()};
    } else if (node.op == "max_pool" || node.op == "avg_pool") {
      shape = kernels::pool_output(node.name, in(0), layers::pool_window(node));
    } else if (node.op == "global_avg_pool") {
      shape = {1, in(0).c(), 1, 1};
    } else if (node.op == "flatten") {
      shape = {1, in(0).elements()};
    } else if (node.op == "concat") {
      std::int64_t channels = 0;
      for (std::size_t k = 0; k < node.inputs.size(); ++k) {
        EXPECT_EQ(in(0).h(), in(k).h()) << node.name;
        EXPECT_EQ(in(0).w(), in(k).w()) << node.name;
        channels += in(k).c();
      }
      shape = {1, channels, in(0).h(), in(0).w()};
    } else {
      EXPECT_TRUE(node.op != "add" || in(0) == in(1)) << node.name;
      shape = in(0);
    }
  }
  return shapes;
}

// Weights, biases, and gamma and beta of each batch norm.
std::int64_t trained_values(const Graph& graph) {
  const auto shapes = shapes_of(graph);
  std::int64_t sum = 0;
  for (const Node& node : graph.nodes()) {
    const Shape& shape = shapes.at(node.name);
    if (node.op == "parameter") sum += shape.elements();
    if (node.op == "batch_norm") sum += 2 * shape.c();
    if (node.integer("bias", 0) == 1) sum += shape.c();
  }
  return sum;
}

struct Expected {
  const char* name;
  std::int64_t at_imagenet;  ///< trained values for 1000 classes
  const char* last_map;      ///< node before the images are averaged or flattened, at 224
  Shape last_map_shape;
  const char* small_map;  ///< of that node for 32x32
};

// Counts as published with torchvision's weights; mobilenet_v1's with its paper's checkpoint.
const Expected kExpected[] = {
    {"alexnet", 61100840, "pool3", {1, 256, 6, 6}, "256x3x3"},
    {"squeezenet1_1", 1235496, "classifier.relu", {1, 1000, 13, 13}, "10x7x7"},
    {"mobilenet_v1", 4231976, "block13.pointwise.relu", {1, 1024, 7, 7}, "1024x2x2"},
    {"mobilenet_v2", 3504872, "head.relu", {1, 1280, 7, 7}, "1280x4x4"},
    {"resnet18", 11689512, "layer4.1.relu", {1, 512, 7, 7}, "512x4x4"},
    {"resnet50", 25557032, "layer4.2.relu", {1, 2048, 7, 7}, "2048x4x4"},
    {"resnet101", 44549160, "layer4.2.relu", {1, 2048, 7, 7}, "2048x4x4"},
    {"resnet152", 60192808, "layer4.2.relu", {1, 2048, 7, 7}, "2048x4x4"},
    {"vgg16", 138357544, "pool5", {1, 512, 7, 7}, "512x1x1"},
    {"vgg19", 143667240, "pool5", {1, 512, 7, 7}, "512x1x1"},
};

TEST(LargeNetworks, HaveThePublishedCountsAndShapes) {
  for (const Expected& one : kExpected) {
    const Graph graph = build_network(one.name, kImageNet);
    EXPECT_EQ(trained_values(graph), one.at_imagenet) << one.name;
    const auto shapes = shapes_of(graph);
    EXPECT_EQ(shapes.at(one.last_map), one.last_map_shape) << one.name;
    EXPECT_EQ(shapes.at(graph.output().name), (Shape{1, 1000})) << one.name;
    const auto small = shapes_of(build_network(one.name, kCifar));
    EXPECT_EQ(layers::shape_text(small.at(one.last_map), true), one.small_map) << one.name;
  }
}

// 27,161,264 as published with torchvision's weights, less the auxiliary head: 1x1 of 768 to 128
// and 5x5 of 128 to 768 channels, each with gamma and beta, and 768*1000 + 1000. Maps as in the
// paper's table 1.
TEST(InceptionV3, HasThePublishedCountAndMaps) {
  constexpr NetworkShape k299{.channels = 3, .height = 299, .width = 299, .classes = 1000};
  const Graph graph = build_network("inception_v3", k299);
  EXPECT_EQ(trained_values(graph),
            27161264 - (768 * 128 + 2 * 128) - (128 * 768 * 25 + 2 * 768) - 769000);
  const auto shapes = shapes_of(graph);
  EXPECT_EQ(shapes.at("stem.pool2"), (Shape{1, 192, 35, 35}));
  EXPECT_EQ(shapes.at("mixed5b"), (Shape{1, 256, 35, 35}));
  EXPECT_EQ(shapes.at("mixed6a"), (Shape{1, 768, 17, 17}));
  EXPECT_EQ(shapes.at("mixed7c"), (Shape{1, 2048, 8, 8}));
  EXPECT_EQ(shapes_of(build_network("inception_v3", kCifar)).at("mixed7c"), (Shape{1, 2048, 7, 7}));
}

// 784*300 + 300 + 300*100 + 100 + 100*10 + 10.
TEST(Lenet300, HasItsParameters) { EXPECT_EQ(trained_values(lenet300({})), 266610); }

// 9 * (3*128 + 128*128 + 128*256 + 256*256 + 256*512 + 512*512), gamma and beta of 2 * 896
// channels, and 512*4*4*10 + 10.
TEST(VggSmall, HasItsParameters) {
  EXPECT_EQ(trained_values(vgg_small(kCifar)), 4574592 + 3584 + 81930);
}

// 784*4096 + 2*4096*4096 + 4096*10, gamma and beta of 3*4096 + 10.
TEST(MlpBnn, HasItsParameters) {
  EXPECT_EQ(trained_values(mlp_bnn({})), 3211264 + 33554432 + 40960 + 2 * (3 * 4096 + 10));
}

// lenet5's products; gamma and beta of 32 + 64 + 512 channels, a bias of the last layer alone.
TEST(Lenet5Binary, HasItsParameters) {
  EXPECT_EQ(trained_values(lenet5_binary({})), 800 + 51200 + 1605632 + 5120 + 10 + 2 * 608);
}

TEST(VggSmallXnor, HasTheParametersOfVggSmall) {
  EXPECT_EQ(trained_values(vgg_small_xnor(kCifar)), trained_values(vgg_small(kCifar)));
}

// He et al.'s 0.27 M of parameter-free shortcuts; ResNet-18 without its three projections and their
// batch norms.
TEST(BiReal, HasNoWeightsInItsShortcuts) {
  EXPECT_EQ(trained_values(resnet20_bireal(kCifar)), 269722);
  EXPECT_EQ(trained_values(resnet18_bireal(kImageNet)),
            11689512 - (64 * 128 + 128 * 256 + 256 * 512) - 2 * (128 + 256 + 512));
}

// 63 pixels a side is small, 64 is not.
TEST(LargeNetworks, ChooseTheStemByTheSmallerSide) {
  const auto stem_of = [](std::int64_t height, std::int64_t width) {
    const Graph graph = resnet18({.channels = 3, .height = height, .width = width});
    return graph.find("stem.conv")->integer("stride", 1);
  };
  EXPECT_EQ(stem_of(64, 64), 2);
  EXPECT_EQ(stem_of(63, 200), 1);
  EXPECT_EQ(stem_of(200, 63), 1);
}

class EachNetwork : public testing::TestWithParam<std::string> {};

TEST_P(EachNetwork, FitsOtherImages) {
  for (const NetworkShape& shape :
       {NetworkShape{.channels = 3, .height = 33, .width = 21, .classes = 7},
        NetworkShape{.channels = 1, .height = 28, .width = 28, .classes = 7},
        NetworkShape{.channels = 3, .height = 64, .width = 80, .classes = 7}}) {
    const Graph graph = build_network(GetParam(), shape);
    EXPECT_EQ(shapes_of(graph).at(graph.output().name), (Shape{1, 7}));
  }
}

// Uniform numbers of He's deviation, repeated after a prime number of them: normal ones for 25
// million weights would take seconds.
void fill_cheaply(layers::Parameter& parameter, std::uint32_t salt) {
  const Shape& shape = parameter.value.shape();
  const auto fan_in = static_cast<double>(shape.elements() / shape.n());
  const auto width = static_cast<float>(std::sqrt(24.0 / fan_in));
  const auto values = parameter.value.span<float>();
  constexpr std::size_t kPeriod = 65537;
  for (std::size_t i = 0; i < std::min(values.size(), kPeriod); ++i) {
    const std::uint32_t mixed = (static_cast<std::uint32_t>(i) + salt) * 2654435761U;
    values[i] = width * (static_cast<float>((mixed ^ mixed >> 15U) & 0xFFFFU) / 65535.0F - 0.5F);
  }
  for (std::size_t i = kPeriod; i < values.size(); i += kPeriod) {
    std::copy_n(values.begin(), std::min(kPeriod, values.size() - i), values.subspan(i).begin());
  }
}

void declare_weights(const Graph& graph, layers::ParameterStore& store) {
  std::uint32_t salt = 1;
  for (const Node& node : graph.nodes()) {
    if (node.op != "parameter") continue;
    fill_cheaply(store.declare(node.name, node.shape("shape"), layers::Role::kWeight, {}),
                 salt *= 747796405U);
  }
}

// Gradients start as NaN: one that no layer writes shows, and so does one that is all zero.
TEST_P(EachNetwork, TakesAStepWithFiniteGradients) {
  const Graph graph = build_network(GetParam(), kCifar);
  layers::ParameterStore store(1);
  declare_weights(graph, store);
  constexpr std::int64_t kBatch = 2;
  layers::Network network(graph, layers::float_layers(), store, {.batch = kBatch});
  for (auto& [name, parameter] : store.all()) {
    if (!layers::is_trainable(parameter.role)) continue;
    std::ranges::fill(parameter.gradient.span<float>(), std::numeric_limits<float>::quiet_NaN());
  }
  Tensor images(DType::kF32, {kBatch, 3, 32, 32});
  const RandomStream random(1, "images");
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
  }
  const ConstTensorView logits = network.forward(images, layers::Phase::kTrain);
  ASSERT_EQ(logits.shape(), (Shape{kBatch, 10}));
  const std::vector<std::int32_t> labels{3, 7};
  Tensor gradient(DType::kF32, logits.shape());
  EXPECT_TRUE(std::isfinite(layers::softmax_cross_entropy(logits, labels, gradient)));
  network.backward(gradient);
  for (const auto& [name, parameter] : store.all()) {
    if (!layers::is_trainable(parameter.role)) continue;
    double sum = 0.0;  // of finite numbers finite, and above 0 where one is not 0
    for (const float value : parameter.gradient.span<float>()) {
      sum += std::fabs(static_cast<double>(value));
    }
    EXPECT_TRUE(std::isfinite(sum) && sum > 0.0) << name << ": " << sum;
  }
}

INSTANTIATE_TEST_SUITE_P(Names, EachNetwork, testing::ValuesIn(network_names()),
                         [](const auto& one) { return one.param; });

}  // namespace
}  // namespace bitloom::models
