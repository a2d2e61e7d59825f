#include "bitloom/layers/network.h"

#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "bitloom/core/cpu.h"
#include "bitloom/core/error.h"
#include "bitloom/kernels/bf16_convert.h"
#include "layers/random_parameters.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::layers {
namespace {

Graph graph_of(const std::string& nodes) {
  return Graph::parse("bitloom-graph 1\n" + nodes, "test");
}

// Every kind of sharing: ReLU and add in place, a shortcut, flatten, an edge with two readers. With
// sixteen channels and 32 images Winograd's kernel runs c2.
std::string residual(int width = 4) {
  const std::string channels = std::to_string(width);
  return R"(input = input(shape=2x8x8)
  w1 = parameter(shape=)" +
         channels + R"(x2x3x3)
  c1 = conv2d(input, w1, pad=1)
  b1 = batch_norm(c1)
  r1 = relu(b1)
  p1 = max_pool(r1, kernel=2)
  w2 = parameter(shape=)" +
         channels + "x" + channels + R"(x3x3)
  c2 = conv2d(p1, w2, pad=1)
  b2 = batch_norm(c2)
  a = add(b2, p1)
  r2 = relu(a)
  f = flatten(r2)
  w3 = parameter(shape=5x)" +
         std::to_string(16 * width) + R"()
  l = linear(f, w3, bias=1)
)";
}

class ResidualNetwork {
 public:
  explicit ResidualNetwork(const NetworkOptions& options, int width = 4)
      : store_(3), network_(graph_of(residual(width)), float_layers(), store_, options) {
    shake(store_);
    images_ = Tensor(DType::kF32, {options.batch, 2, 8, 8});
    fill_normal(images_, "images");
    gradient_ = Tensor(DType::kF32, {options.batch, 5});
    for (std::int64_t n = 0; n < options.batch; ++n) {
      labels_.push_back(static_cast<std::int32_t>(n % 5));
    }
  }

  double step(LapClock* clock = nullptr) {
    const double loss =
        softmax_cross_entropy(network_.forward(images_, Phase::kTrain, clock), labels_, gradient_);
    network_.backward(gradient_, clock);
    for (auto& [name, parameter] : store_.all()) {
      if (!is_trainable(parameter.role)) continue;
      const auto value = parameter.value.span<float>();
      const auto gradient = parameter.gradient.span<float>();
      for (std::size_t i = 0; i < value.size(); ++i) value[i] -= 0.1F * gradient[i];
    }
    return loss;
  }

  ParameterStore& store() { return store_; }
  Network& network() { return network_; }
  const Tensor& images() const { return images_; }

 private:
  ParameterStore store_;
  Network network_;
  Tensor images_;
  Tensor gradient_;
  std::vector<std::int32_t> labels_;
};

void expect_equal_gradients(const ParameterStore& found, const ParameterStore& expected) {
  ASSERT_EQ(found.all().size(), expected.all().size());
  int compared = 0;
  for (const auto& [name, parameter] : expected.all()) {
    EXPECT_THAT(found.at(name).value, TensorEq(parameter.value)) << name;
    if (!is_trainable(parameter.role)) continue;
    EXPECT_THAT(found.at(name).gradient, TensorEq(parameter.gradient)) << name;
    ++compared;
  }
  EXPECT_GT(compared, 0);
}

// Where memory is shared wrongly, the network that shares none computes other bits.
TEST(Network, SharedMemoryChangesNoBit) {
  for (const auto& [batch, width] : {std::pair{6, 4}, std::pair{32, 16}}) {
    ResidualNetwork shared({.batch = batch}, width);
    ResidualNetwork separate({.batch = batch, .keep_all_tensors = true}, width);
    for (int step = 0; step < 3; ++step) EXPECT_EQ(shared.step(), separate.step());
    expect_equal_gradients(shared.store(), separate.store());
    EXPECT_LT(shared.network().memory_bytes(), separate.network().memory_bytes());
  }
}

// A residual network of fused chains, whose products and gradients may be bf16.
constexpr const char* kFusedResidual = R"(input = input(shape=16x8x8)
  w1 = parameter(shape=32x16x3x3)
  c1 = conv2d(input, w1, pad=1)
  f1 = fused(c1, norm=n1, low=0)
  w2 = parameter(shape=32x32x3x3)
  c2 = conv2d(f1, w2, pad=1)
  f2 = fused(c2, f1, norm=n2, low=0)
  w3 = parameter(shape=32x32x3x3)
  c3 = conv2d(f2, w3, pad=1)
  f3 = fused(c3, f2, norm=n3, low=0)
  g = global_avg_pool(f3)
  f = flatten(g)
  w4 = parameter(shape=5x32)
  l = linear(f, w4, bias=1)
)";

// Gradients of every parameter after one step.
ParameterStore stepped(const NetworkOptions& options) {
  ParameterStore store(3);
  Network network(graph_of(kFusedResidual), float_layers(), store, options);
  shake(store);
  Tensor images(DType::kF32, {options.batch, 16, 8, 8}), gradient(DType::kF32, {options.batch, 5});
  fill_normal(images, "images");
  network.forward(images, Phase::kTrain);
  fill_normal(gradient, "gradient");
  network.backward(gradient);
  return store;
}

TEST(Network, GradientsInBf16FollowThoseInF32AndShareMemory) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  constexpr auto kBf16 = kernels::Precision::kBf16;
  const ParameterStore rounded = stepped({.batch = 8, .precision = kBf16});
  expect_equal_gradients(rounded,
                         stepped({.batch = 8, .keep_all_tensors = true, .precision = kBf16}));
  const ParameterStore exact = stepped({.batch = 8});
  for (const auto& [name, parameter] : exact.all()) {
    if (!is_trainable(parameter.role)) continue;
    const auto wanted = parameter.gradient.span<const float>();
    const auto found = rounded.at(name).gradient.span<const float>();
    double error = 0.0, size = 0.0;
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      error += std::pow(static_cast<double>(found[i]) - static_cast<double>(wanted[i]), 2.0);
      size += std::pow(static_cast<double>(wanted[i]), 2.0);
    }
    EXPECT_GT(size, 0.0) << name;
    // Forward is bf16 too, so that some values fall on the other side of zero.
    EXPECT_LT(std::sqrt(error / size), 0.1) << name;
  }
}

// y = x; tells in which type and how many terms its gradient came.
class Telling final : public Layer {
 public:
  explicit Telling(const LayerContext& context)
      : edge_{.shape = context.inputs[0].shape}, bf16_(context.node.integer("bf16", 1) != 0) {}
  const Edge& output() const override { return edge_; }
  LayerMemory memory() const override {
    return {.backward_reads_bf16 = bf16_,
            .backward_writes_bf16 = {bf16_},
            .backward_reads_terms = bf16_};
  }
  void forward(const ForwardCall& call) override { copy(call.inputs[0], call.output); }
  void backward(const BackwardCall& call) override {
    terms = {call.output_gradient};
    if (!call.second_gradient.empty()) terms.push_back(call.second_gradient);
    for (std::int64_t i = 0; i < edge_.shape.elements(); ++i) {
      float sum = 0.0F;
      for (const ConstTensorView& term : terms) {
        sum += term.dtype() == DType::kF32 ? term.data<float>()[i]
                                           : kernels::to_float(term.data<Bf16>()[i]);
      }
      const TensorView& to = call.input_gradients[0];
      if (to.dtype() == DType::kF32) {
        to.data<float>()[i] = sum;
      } else {
        to.data<Bf16>()[i] = kernels::round_to_bf16(sum);
      }
    }
  }
  std::vector<ConstTensorView> terms;

 private:
  Edge edge_;
  bool bf16_;
};

struct TellingCase {
  const char* name;
  const char* graph;
  DType dtype;
  std::size_t terms;
  float gradient;
};

// Of the node `t`.
TEST(Network, AnEdgeHasBf16GradientsWhereBothSidesCan) {
  LayerRegistry registry = float_layers();
  registry["tell"] = {
      .make = [](const LayerContext& context) { return std::make_unique<Telling>(context); },
      .inputs = 1,
      .attributes = {"bf16"}};
  const TellingCase cases[] = {
      {"one", "u = tell(t)\nv = tell(u)", DType::kBf16, 1, 1.0F},
      {"two", "u = tell(t)\nv = tell(t)\na = add(u, v)", DType::kBf16, 2, 2.0F},
      {"three", "u = tell(t)\nv = tell(t)\nx = tell(t)\na = add(u, v)\nb = add(a, x)", DType::kF32,
       1, 3.0F},
      {"a reader cannot", "u = tell(t)\nv = tell(t, bf16=0)\na = add(u, v)", DType::kF32, 1, 2.0F},
      {"the output's is the caller's", "", DType::kF32, 1, 1.0F},
  };
  for (const bool keep_all : {false, true}) {
    for (const TellingCase& one : cases) {
      SCOPED_TRACE(one.name);
      ParameterStore store(3);
      Network network(graph_of(cat("input = input(shape=3x1x1)\nw = parameter(shape=4x3x1x1)\n"
                                   "c = conv2d(input, w)\nt = tell(c)\n",
                                   one.graph, "\n")),
                      registry, store, {.batch = 2, .keep_all_tensors = keep_all});
      Tensor images(DType::kF32, {2, 3, 1, 1}), gradient(DType::kF32, {2, 4, 1, 1});
      fill_normal(images, "images");
      for (float& value : gradient.span<float>()) value = 1.0F;
      network.forward(images, Phase::kTrain);
      network.backward(gradient);
      const auto& told = dynamic_cast<Telling&>(network.layer("t"));
      ASSERT_EQ(told.terms.size(), one.terms);
      EXPECT_EQ(told.terms[0].dtype(), one.dtype);
      const float* x = images.data<float>();
      EXPECT_FLOAT_EQ(store.at("w").gradient.data<float>()[0], one.gradient * (x[0] + x[3]));
    }
  }
}

TEST(Network, ShowsValuesThatItDoesNotKeep) {
  ResidualNetwork shared({.batch = 6, .training = false});
  ResidualNetwork separate({.batch = 6, .keep_all_tensors = true});
  separate.network().forward(separate.images(), Phase::kEvaluate);
  std::vector<std::string> seen;
  const auto watch = [&](const std::string& node, ConstTensorView value) {
    EXPECT_THAT(value, TensorEq(separate.network().tensor(node))) << node;
    seen.push_back(node);
  };
  shared.network().forward(shared.images(), Phase::kEvaluate, watch);
  EXPECT_THAT(
      seen, testing::ElementsAre("input", "c1", "b1", "r1", "p1", "c2", "b2", "a", "r2", "f", "l"));
}

TEST(Network, SameSeedGivesSameBits) {
  ResidualNetwork first({.batch = 6}), second({.batch = 6});
  std::vector<double> losses;
  for (int step = 0; step < 3; ++step) {
    losses.push_back(first.step());
    EXPECT_EQ(losses.back(), second.step());
  }
  expect_equal_gradients(first.store(), second.store());
  EXPECT_LT(losses[2], losses[0]);
}

TEST(Network, WithoutTrainingUsesLessMemoryAndGivesTheSameOutput) {
  ResidualNetwork training({.batch = 4});
  training.step();  // running statistics other than the initial ones
  Network evaluation(graph_of(residual()), float_layers(), training.store(),
                     {.batch = 4, .training = false});
  const Tensor expected = [&] {
    Tensor out(DType::kF32, {4, 5});
    copy(training.network().forward(training.images(), Phase::kEvaluate), out);
    return out;
  }();
  EXPECT_THAT(evaluation.forward(training.images(), Phase::kEvaluate), TensorEq(expected));
  EXPECT_LT(evaluation.memory_bytes(), training.network().memory_bytes());
}

TEST(Network, EvaluationTouchesNoStatistics) {
  ResidualNetwork net({.batch = 4});
  const Tensor before = net.store().at("b1.running_mean").value.clone();
  net.network().forward(net.images(), Phase::kEvaluate);
  EXPECT_THAT(net.store().at("b1.running_mean").value, TensorEq(before));
  net.network().forward(net.images(), Phase::kTrain);
  EXPECT_NE(net.store().at("b1.running_mean").value.data<float>()[0], before.data<float>()[0]);
}

TEST(Network, RunsOtherImagesEachCall) {
  ResidualNetwork net({.batch = 4});
  Tensor first(DType::kF32, {4, 5});
  copy(net.network().forward(net.images(), Phase::kEvaluate), first);
  Tensor others = net.images().clone();
  fill_normal(others, "others");
  EXPECT_NE(net.network().forward(others, Phase::kEvaluate).data<float>()[0],
            first.data<float>()[0]);
  EXPECT_THAT(net.network().forward(net.images(), Phase::kEvaluate), TensorEq(first));
}

TEST(Network, KeepsAllTensorsOnRequest) {
  ResidualNetwork net({.batch = 2, .keep_all_tensors = true});
  const ConstTensorView output = net.network().forward(net.images(), Phase::kEvaluate);
  EXPECT_THAT(net.network().tensor("input"), TensorEq(net.images()));
  EXPECT_THAT(net.network().tensor("l"), TensorEq(output));
  const ConstTensorView sum = net.network().tensor("a");
  const ConstTensorView relu = net.network().tensor("r2");
  int negative = 0;
  for (std::int64_t i = 0; i < sum.elements(); ++i) {
    EXPECT_EQ(relu.data<float>()[i], std::max(sum.data<float>()[i], 0.0F));
    negative += sum.data<float>()[i] < 0.0F ? 1 : 0;
  }
  EXPECT_GT(negative, 0) << "the ReLU had nothing to do";
  EXPECT_EQ(net.network().tensor("f").raw(), relu.raw());

  ResidualNetwork sharing({.batch = 2});
  EXPECT_ERROR(ConfigError, sharing.network().tensor("a"), "a: expected a network that keeps all",
               "keep_all_tensors");
  EXPECT_EQ(sharing.network().tensor("w1").raw(), sharing.store().at("w1").value.raw());
}

TEST(Network, ImagesAndUnreachedParametersGetNoGradient) {
  ParameterStore store(1);
  Network network(graph_of(R"(input = input(shape=3)
    w = parameter(shape=2x3)
    aside.w = parameter(shape=4x3)
    aside = linear(input, aside.w, bias=1)
    y = linear(input, w))"),
                  float_layers(), store, {.batch = 2});
  Tensor images(DType::kF32, {2, 3});
  fill_normal(images, "images");
  network.forward(images, Phase::kTrain);
  Tensor gradient(DType::kF32, {2, 2});
  fill_normal(gradient, "gradient");
  const Tensor before = images.clone();
  network.backward(gradient);
  EXPECT_THAT(images, TensorEq(before));
  EXPECT_FALSE(network.edge("input").needs_gradient);
  EXPECT_TRUE(network.edge("y").needs_gradient);
  EXPECT_NE(store.at("w").gradient.data<float>()[0], 0.0F);
  EXPECT_THAT(store.at("aside.w").gradient, TensorEq(Tensor(DType::kF32, {4, 3})));
}

// The input's gradient is nobody's, so c1 has no backward pass to its data.
TEST(Network, ClockSeesEveryNodeAndChangesNoBit) {
  ResidualNetwork plain({.batch = 2});
  ResidualNetwork timed({.batch = 2});
  plain.step();
  LapClock clock(timed.network().graph().nodes().size());
  clock.start();
  timed.step(&clock);
  expect_equal_gradients(timed.store(), plain.store());

  int products = 0;
  const std::vector<Node>& nodes = timed.network().graph().nodes();
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    SCOPED_TRACE(nodes[i].name);
    EXPECT_GT(clock.ms(i, Lap::kForward), 0.0);
    const bool product = nodes[i].op == "conv2d" || nodes[i].op == "linear";
    products += product ? 1 : 0;
    EXPECT_EQ(clock.ms(i, Lap::kBackwardWeights) > 0.0, product);
    const bool runs_backward = nodes[i].op != "input" && nodes[i].op != "parameter";
    EXPECT_EQ(clock.ms(i, Lap::kBackwardData) > 0.0, runs_backward);
    // p1 has two readers, whose gradients are summed by the one that runs last.
    EXPECT_EQ(clock.ms(i, Lap::kElementwise) > 0.0, nodes[i].name == "c2");
  }
  EXPECT_EQ(products, 3);
}

TEST(Network, InfersShapes) {
  ResidualNetwork net({.batch = 6});
  EXPECT_EQ(net.network().edge("c1").shape, (Shape{6, 4, 8, 8}));
  EXPECT_EQ(net.network().edge("p1").shape, (Shape{6, 4, 4, 4}));
  EXPECT_EQ(net.network().edge("f").shape, (Shape{6, 64}));
  EXPECT_EQ(net.network().edge("l").shape, (Shape{6, 5}));
  EXPECT_EQ(net.network().layer("w1").parameter(), &net.store().at("w1"));
  EXPECT_ERROR(ConfigError, net.network().edge("x9"), "expected a node of the graph", "'x9'");
}

TEST(Network, RefusesOtherImagesAndGradients) {
  ResidualNetwork net({.batch = 2});
  EXPECT_ERROR(ShapeError, net.network().forward(Tensor(DType::kF32, {3, 2, 8, 8}), Phase::kTrain),
               "input: expected images f32 [2, 2, 8, 8], found f32 [3, 2, 8, 8]");
  EXPECT_ERROR(ShapeError, net.network().forward(Tensor(DType::kU8, {2, 2, 8, 8}), Phase::kTrain),
               "found u8");
  EXPECT_ERROR(ShapeError, net.network().backward(Tensor(DType::kF32, {2, 4})),
               "l: expected a gradient f32 [2, 5], found f32 [2, 4]");
}

struct BadNetwork {
  const char* name;
  const char* nodes;
  const char* message;
};

void PrintTo(const BadNetwork& what, std::ostream* out) { *out << what.name; }

class BadNetworks : public testing::TestWithParam<BadNetwork> {};

TEST_P(BadNetworks, NameTheNode) {
  ParameterStore store(1);
  const Graph graph = graph_of(GetParam().nodes);
  EXPECT_ERROR(Error, Network(graph, float_layers(), store, {.batch = 2}), GetParam().message);
}

const BadNetwork kBadNetworks[] = {
    {"unknown_op", "x = input(shape=1x2x2)\ny = softmax(x)",
     "y: expected one of the operations add, avg_pool, batch_norm, concat, conv2d, dropout, "
     "flatten, fused, global_avg_pool, hardtanh, input, k_map, linear, max_pool, parameter, prelu, "
     "relu, relu6, rprelu, scale_map, shift_batch_norm, found 'softmax'"},
    {"unknown_attribute", "x = input(shape=1x2x2)\ny = relu(x, slope=1)",
     "y: expected attributes of relu (none), found 'slope'"},
    {"misspelt_attribute", "x = input(shape=1x2x2)\ny = max_pool(x, kernal=2)",
     "y: expected attributes of max_pool (kernel, stride, pad), found 'kernal'"},
    {"input_count", "x = input(shape=1x2x2)\ny = add(x)", "y: expected 2 input(s) of add, found 1"},
    {"concat_of_one", "x = input(shape=1x2x2)\ny = concat(x)",
     "y: expected at least 2 input(s) of concat, found 1"},
    {"no_input", "w = parameter(shape=2x2)", "graph: expected one input node, found none"},
    {"two_inputs", "x = input(shape=1x2x2)\nz = input(shape=1x2x2)\ny = add(x, z)",
     "z: expected one input node, found a second one after x"},
    {"batch_in_the_text", "x = input(shape=2x1x2x2)", "x: expected shape=CxHxW"},
    {"channels", "x = input(shape=3x4x4)\nw = parameter(shape=8x1x3x3)\nc = conv2d(x, w)",
     "c: expected input of 1 channels (weight [8, 1, 3, 3], groups=1), found input [2, 3, 4, 4]"},
    {"groups", "x = input(shape=4x4x4)\nw = parameter(shape=9x2x3x3)\nc = conv2d(x, w, groups=2)",
     "c: expected input of 4 channels"},
    {"kernel_too_large", "x = input(shape=1x2x2)\nw = parameter(shape=1x1x5x5)\nc = conv2d(x, w)",
     "c: expected an input that a 5x5 kernel with pad=0 fits into, found input [2, 1, 2, 2]"},
    {"stride", "x = input(shape=1x2x2)\nw = parameter(shape=1x1x1x1)\nc = conv2d(x, w, stride=0)",
     "c: expected stride and groups of at least 1"},
    {"bias_flag", "x = input(shape=1x2x2)\nw = parameter(shape=1x1x1x1)\nc = conv2d(x, w, bias=2)",
     "c: attribute bias: expected 0 or 1, found 2"},
    {"flatten_missing", "x = input(shape=1x2x2)\nw = parameter(shape=3x4)\nl = linear(x, w)",
     "l: expected input [N, I], found [2, 1, 2, 2]; put a flatten before it"},
    {"linear_size", "x = input(shape=5)\nw = parameter(shape=3x4)\nl = linear(x, w)",
     "l: expected weight [O, 5] for input [2, 5], found [3, 4]"},
    {"add_shapes", "x = input(shape=4x2x2)\np = max_pool(x, kernel=2)\ny = add(p, x)",
     "y: expected two inputs of one shape, x like p [2, 4, 1, 1], found [2, 4, 2, 2]"},
    {"concat_shapes", "x = input(shape=4x2x2)\np = max_pool(x, kernel=2)\ny = concat(p, x)",
     "y: expected inputs that differ in channels alone, x like p f32 [2, 4, 1, 1], found f32 [2, "
     "4, "
     "2, 2]"},
    {"dropout_ratio", "x = input(shape=4)\ny = dropout(x, ratio=1)",
     "y: attribute ratio: expected a number from 0 to below 1, found 1"},
    {"hardtanh_bounds", "x = input(shape=4)\ny = hardtanh(x, low=1)",
     "y: expected low below high, found low=1, high=1"},
    {"avg_pool_kernel", "x = input(shape=1x4x4)\ny = avg_pool(x)",
     "y: expected attribute kernel, found none"},
    {"conv2d_pad_w",
     "x = input(shape=1x4x4)\nw = parameter(shape=2x1x1x3)\ny = conv2d(x, w, pad_w=-1)",
     "y: attribute pad_w: expected at least 0, found -1"},
    {"avg_pool_count_pad", "x = input(shape=1x4x4)\ny = avg_pool(x, kernel=3, count_pad=2)",
     "y: attribute count_pad: expected 0 or 1, found 2"},
    {"avg_pool_pad", "x = input(shape=1x4x4)\ny = avg_pool(x, kernel=3, pad=2)",
     "y: expected kernel and stride of at least 1, pad of 0 to half the kernel"},
    {"pool_pad", "x = input(shape=1x4x4)\ny = max_pool(x, kernel=2, pad=2)",
     "y: expected kernel and stride of at least 1, pad of 0 to half the kernel"},
    {"pool_kernel", "x = input(shape=1x4x4)\ny = max_pool(x)", "y: expected attribute kernel"},
    {"epsilon", "x = input(shape=1x4x4)\ny = batch_norm(x, epsilon=0)",
     "y: attribute epsilon: expected a number above 0, found 0"},
    {"momentum", "x = input(shape=1x4x4)\ny = batch_norm(x, momentum=2)",
     "y: attribute momentum: expected 0 to 1, found 2"},
};

INSTANTIATE_TEST_SUITE_P(Graphs, BadNetworks, testing::ValuesIn(kBadNetworks),
                         [](const auto& one) { return std::string(one.param.name); });

TEST(BatchNorm, RefusesToTrainOnOneValuePerChannel) {
  ParameterStore store(1);
  const Graph graph = graph_of("x = input(shape=4)\ny = batch_norm(x)");
  EXPECT_ERROR(ShapeError, Network(graph, float_layers(), store, {.batch = 1}),
               "y: expected more than one value per channel to train", "larger batch");
  EXPECT_NO_THROW(Network(graph, float_layers(), store, {.batch = 1, .training = false}));
}

}  // namespace
}  // namespace bitloom::layers
