// Gradients of networks with signs and real shortcuts: what layers add up themselves and what
// shortcuts pass on where it lies, against the same contributions summed one by one.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <string>

#include "bitloom/core/random.h"
#include "bitloom/integer/profile.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;
using layers::Phase;

constexpr std::int64_t kBatch = 4;

// Shortcuts around each convolution, one of them through a pool and a concat; signs in front.
constexpr const char* kRealShortcuts = R"(bitloom-graph 1
input = input(shape=3x10x9)
stem.weight = parameter(shape=20x3x3x3)
stem = conv2d(input, stem.weight, pad=1)
stem.bn = batch_norm(stem)
act1 = hardtanh(stem.bn)
conv1.weight = parameter(shape=20x20x3x3)
conv1 = conv2d(act1, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
add1 = add(bn1, stem.bn)
act2 = hardtanh(add1)
conv2.weight = parameter(shape=20x20x3x3)
conv2 = conv2d(act2, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add2 = add(bn2, add1)
half = avg_pool(add2, kernel=3, stride=2, pad=1)
wide = concat(half, half)
act3 = hardtanh(add2)
conv3.weight = parameter(shape=40x20x3x3)
conv3 = conv2d(act3, conv3.weight, stride=2, pad=1)
bn3 = batch_norm(conv3)
add3 = add(bn3, wide)
gap = global_avg_pool(add3)
flatten = flatten(gap)
fc.weight = parameter(shape=5x40)
fc = linear(flatten, fc.weight, bias=1)
)";

Tensor normal_values(const Shape& shape, const char* name) {
  const RandomStream random(3, name);
  Tensor values(DType::kF32, shape);
  std::uint64_t i = 0;
  for (float& value : values.span<float>()) value = random.normal(i++);
  return values;
}

struct Step {
  Step(const Graph& plain, const QuantOptions& options, bool apart)
      : images(normal_values({kBatch, 3, 10, 9}, "images")) {
    const Network declared(plain, layers::float_layers(), store, {.batch = kBatch});
    Graph graph = insert_fake_quant(plain, options, integer::profile_named("int8"), true);
    graph = calibrate(graph, store, [&](const auto& use) { use(images.view()); }, kBatch, {});
    start_quantizers(graph, store);
    Network network(training_graph(graph, "integer"), quantized_layers(), store,
                    {.batch = kBatch, .keep_all_tensors = apart});
    network.forward(images, Phase::kTrain);
    network.backward(normal_values({kBatch, 5}, "gradient"));
    memory_bytes = network.memory_bytes();
  }
  ParameterStore store{7};
  Tensor images;
  std::size_t memory_bytes = 0;
};

class SignGradients : public testing::TestWithParam<const char*> {};

TEST_P(SignGradients, AreTheSameHoweverContributionsAreSummed) {
  const Graph plain = Graph::parse(kRealShortcuts, "test");
  const QuantOptions options{
      .method = "qat", .quantizer = GetParam(), .weight_bits = 1, .activation_bits = 1};
  const Step together(plain, options, false);
  const Step apart(plain, options, true);
  int compared = 0;
  double magnitude = 0.0;
  for (const auto& [name, parameter] : together.store.all()) {
    if (parameter.gradient.empty()) continue;
    const Tensor& other = apart.store.at(name).gradient;
    ASSERT_EQ(parameter.gradient.bytes(), other.bytes()) << name;
    EXPECT_EQ(std::memcmp(parameter.gradient.raw(), other.raw(), other.bytes()), 0) << name;
    for (const float value : other.span<float>())
      magnitude += std::fabs(static_cast<double>(value));
    ++compared;
  }
  EXPECT_GE(compared, 10);
  EXPECT_GT(magnitude, 1.0);
  EXPECT_LT(together.memory_bytes, apart.memory_bytes);
}

INSTANTIATE_TEST_SUITE_P(Quantizers, SignGradients, testing::Values("bi-real", "reactnet", "bnn"),
                         [](const auto& param) {
                           return std::string(param.param) == "bi-real" ? std::string("bi_real")
                                                                        : std::string(param.param);
                         });

}  // namespace
}  // namespace bitloom::quant
