// Equalization leaves a network's function alone and makes one grid fit its channels better.
#include "bitloom/quant/equalize.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <string>

#include "bitloom/layers/network.h"
#include "bitloom/quant/quantize.h"
#include "bitloom/quant/quantized_layers.h"
#include "layers/random_parameters.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;

constexpr std::int64_t kBatch = 4;

struct Case {
  std::string name;
  const char* text;
  int pairs;
  int balanced;
};

void PrintTo(const Case& which, std::ostream* out) { *out << which.name; }

const Case kPlain{"plain", R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=6x8x3x3)
conv2 = conv2d(pool1, conv2.weight, bias=1, pad=1)
relu2 = relu(conv2)
flatten = flatten(relu2)
fc1.weight = parameter(shape=10x96)
fc1 = linear(flatten, fc1.weight, bias=1)
relu3 = relu(fc1)
fc2.weight = parameter(shape=5x10)
fc2 = linear(relu3, fc2.weight, bias=1)
)",
                  3, 1};

const Case kDepthwise{"depthwise", R"(bitloom-graph 1
input = input(shape=3x8x8)
expand.weight = parameter(shape=8x3x1x1)
expand = conv2d(input, expand.weight)
bn1 = batch_norm(expand)
relu1 = relu(bn1)
dw.weight = parameter(shape=8x1x3x3)
dw = conv2d(relu1, dw.weight, pad=1, groups=8)
bn2 = batch_norm(dw)
relu2 = relu(bn2)
project.weight = parameter(shape=6x4x1x1)
project = conv2d(relu2, project.weight, groups=2, bias=1)
pool = global_avg_pool(project)
flatten = flatten(pool)
fc.weight = parameter(shape=5x6)
fc = linear(flatten, fc.weight, bias=1)
)",
                      3, 2};

// Two readers, an add and a bounded activation: nothing may move across them.
const Case kRefused{"refused", R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
conv2.weight = parameter(shape=8x8x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add = add(bn2, relu1)
relu2 = relu6(add)
conv3.weight = parameter(shape=4x8x1x1)
conv3 = conv2d(relu2, conv3.weight, bias=1)
clip3 = relu6(conv3)
conv4.weight = parameter(shape=4x4x1x1)
conv4 = conv2d(clip3, conv4.weight, bias=1)
)",
                    0, 2};

Tensor images() {
  Tensor images(DType::kF32, Shape{kBatch, 3, 8, 8});
  layers::fill_normal(images, "images");
  return images;
}

void declare(const Graph& graph, ParameterStore& store) {
  const Network network(graph, layers::float_layers(), store, {.batch = kBatch});
  layers::shake(store);
  for (auto& [name, parameter] : store.all()) {
    if (name.ends_with("running_mean")) layers::fill_normal(parameter.value, name);
    if (name.ends_with("running_var")) layers::fill_normal(parameter.value, name, 2.0F, 0.4F);
  }
}

// 1/8 .. 8, in no order.
float spread_of(std::int64_t channel) {
  return std::exp2(static_cast<float>(channel * 5 % 7) - 3.0F);
}

// Multiplies the rows of a weight, or whatever lies as [channels, count], by the channels' spread.
void spread_rows(Tensor& tensor, float exponent = 1.0F) {
  const std::int64_t count = tensor.elements() / tensor.shape()[0];
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    tensor.data<float>()[i] *= std::pow(spread_of(i / count), exponent);
  }
}

// What training does to networks with depthwise layers: the channels between two layers, and the
// rows before a batch norm, come to differ widely while the function is that of well-shaped ones.
void unbalance(ParameterStore& store, const Case& which) {
  const auto channel = [&](const std::string& norm) {
    spread_rows(store.at(norm + ".gamma").value);
    spread_rows(store.at(norm + ".beta").value);
  };
  const auto rows = [&](const std::string& weight, const std::string& norm) {
    spread_rows(store.at(weight + ".weight").value, -1.0F);
    spread_rows(store.at(norm + ".running_mean").value, -1.0F);
    spread_rows(store.at(norm + ".running_var").value, -2.0F);
  };
  const auto columns = [&](const std::string& name, std::int64_t groups) {
    Tensor& weight = store.at(name + ".weight").value;
    const std::int64_t inner = weight.shape()[1];
    const std::int64_t rows_per_group = weight.shape()[0] / groups;
    const std::int64_t count = weight.elements() / weight.shape()[0];
    for (std::int64_t i = 0; i < weight.elements(); ++i) {
      const std::int64_t group = i / count / rows_per_group;
      weight.data<float>()[i] /= spread_of(group * inner + i % inner);
    }
  };
  if (which.name == "depthwise") {
    rows("expand", "bn1");
    channel("bn1");
    columns("dw", 8);
    rows("dw", "bn2");
    channel("bn2");
    columns("project", 2);
  } else {
    rows("conv1", "bn1");
    channel("bn1");
    columns("conv2", 1);
  }
}

Tensor outputs(const Graph& graph, const layers::LayerRegistry& registry, ParameterStore& store) {
  Network network(graph, registry, store, {.batch = kBatch, .training = false});
  const Tensor in = images();
  const ConstTensorView view = network.forward(in, layers::Phase::kEvaluate);
  Tensor out(DType::kF32, view.shape());
  copy(view, out);
  return out;
}

double power(const Tensor& tensor) {
  double sum = 0.0;
  for (const float value : tensor.span<float>()) sum += double{value} * double{value};
  return sum;
}

double difference_power(const Tensor& a, const Tensor& b) {
  double sum = 0.0;
  for (std::size_t i = 0; i < a.span<float>().size(); ++i) {
    const double difference = double{a.span<float>()[i]} - double{b.span<float>()[i]};
    sum += difference * difference;
  }
  return sum;
}

class Equalize : public testing::TestWithParam<Case> {};
class EqualizeUnbalanced : public testing::TestWithParam<Case> {};

TEST_P(Equalize, LeavesTheFunctionAlone) {
  const Graph graph = Graph::parse(GetParam().text, "test");
  ParameterStore store(3);
  declare(graph, store);
  const Tensor before = outputs(graph, layers::float_layers(), store);
  const Equalization done = equalize(graph, store);
  EXPECT_EQ(done.pairs, GetParam().pairs);
  EXPECT_EQ(done.balanced, GetParam().balanced);
  const Tensor after = outputs(graph, layers::float_layers(), store);
  EXPECT_GT(power(before), 1.0);
  EXPECT_LT(std::sqrt(difference_power(before, after) / power(before)), 1e-5);
}

// The last pair of the triple, where both ranges can be read off: written and read agree in each
// channel. And all rows of a weight before batch norm have one range.
TEST(Equalize, BalancesDepthwiseTriples) {
  const Graph graph = Graph::parse(kDepthwise.text, "test");
  ParameterStore store(3);
  declare(graph, store);
  equalize(graph, store);
  const auto at = [&](const std::string& name, std::int64_t i) {
    return std::abs(store.at(name).value.data<float>()[i]);
  };
  const auto dw_range = [&](std::int64_t row) {
    float most = 0.0F;
    for (std::int64_t i = row * 9; i < row * 9 + 9; ++i) most = std::max(most, at("dw.weight", i));
    return most;
  };
  for (std::int64_t i = 0; i < 8; ++i) {
    const float written =
        dw_range(i) * at("bn2.gamma", i) / std::sqrt(at("bn2.running_var", i) + 1e-5F);
    float read = 0.0F;
    for (std::int64_t o = i / 4 * 3; o < i / 4 * 3 + 3; ++o) {
      read = std::max(read, at("project.weight", o * 4 + i % 4));
    }
    EXPECT_NEAR(written / read, 1.0F, 5e-3F) << i;
    EXPECT_NEAR(dw_range(i), dw_range(0), 1e-5F * dw_range(0)) << i;
  }
}

// One scale per weight: unbalanced, the small channels have hardly a code to themselves.
TEST_P(EqualizeUnbalanced, RaisesTheSqnrOfPerTensorWeights) {
  const Graph graph = Graph::parse(GetParam().text, "test");
  const auto sqnr = [&](bool equalized) {
    ParameterStore store(3);
    declare(graph, store);
    unbalance(store, GetParam());
    const Tensor wanted = outputs(graph, layers::float_layers(), store);
    const QuantOptions options{.method = "ptq-static", .equalize = equalized, .per_channel = false};
    const Tensor in = images();
    const Graph quantized = quantize_network(
        graph, store, options, {.profile = integer::profile_named("int8")},
        [&](const auto& use) { use(in.view()); }, kBatch);
    const Tensor found = outputs(quantized, quantized_layers(), store);
    return 10.0 * std::log10(power(wanted) / difference_power(wanted, found));
  };
  const double plain = sqnr(false);
  const double equalized = sqnr(true);
  EXPECT_GT(plain, 5.0);
  EXPECT_GT(equalized, plain + 6.0);
}

INSTANTIATE_TEST_SUITE_P(Graphs, Equalize, testing::Values(kPlain, kDepthwise, kRefused),
                         [](const auto& graph) { return graph.param.name; });
INSTANTIATE_TEST_SUITE_P(Graphs, EqualizeUnbalanced, testing::Values(kPlain, kDepthwise),
                         [](const auto& graph) { return graph.param.name; });

TEST(Equalize, KeepsDeadChannels) {
  const Graph graph = Graph::parse(kPlain.text, "test");
  ParameterStore store(3);
  declare(graph, store);
  for (std::int64_t i = 0; i < 27; ++i) store.at("conv1.weight").value.data<float>()[i] = 0.0F;
  store.at("bn1.gamma").value.data<float>()[1] = 0.0F;
  const Tensor before = outputs(graph, layers::float_layers(), store);
  equalize(graph, store);
  const Tensor after = outputs(graph, layers::float_layers(), store);
  EXPECT_LT(std::sqrt(difference_power(before, after) / power(before)), 1e-5);
  EXPECT_EQ(store.at("conv1.weight").value.data<float>()[0], 0.0F);
}

TEST(Equalize, RefusesQuantizedGraphsAndNotANumber) {
  const Graph quantized = Graph::parse(R"(bitloom-graph 1
input = input(shape=3x8x8)
input.q = fake_quant(input, bits=8, dtype=s8, qmin=-128, qmax=127)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input.q, conv1.weight)
)",
                                       "test");
  ParameterStore store(3);
  EXPECT_ERROR(ConfigError, equalize(quantized, store), "input.q", "a float graph to equalize");
  const Graph graph = Graph::parse(kPlain.text, "test");
  declare(graph, store);
  store.at("conv2.weight").value.data<float>()[3] = std::nanf("");
  EXPECT_ERROR(NumericError, equalize(graph, store), "conv2.weight: expected finite values");
}

}  // namespace
}  // namespace bitloom::quant
