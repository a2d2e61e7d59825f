// Bias correction over whole graphs.
#include "bitloom/quant/bias_correction.h"

#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

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

constexpr std::int64_t kBatch = 16;

constexpr const char* kText = R"(bitloom-graph 1
input = input(shape=3x8x8)
conv1.weight = parameter(shape=8x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
conv2.weight = parameter(shape=6x8x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1, bias=1)
relu2 = relu(conv2)
bare.weight = parameter(shape=6x6x1x1)
bare = conv2d(relu2, bare.weight)
relu3 = relu(bare)
pool = global_avg_pool(relu3)
flatten = flatten(pool)
fc.weight = parameter(shape=5x6)
fc = linear(flatten, fc.weight, bias=1)
)";

struct Corrected {
  explicit Corrected(bool corrected) : images(DType::kF32, Shape{kBatch, 3, 8, 8}) {
    layers::fill_normal(images, "images");
    const Graph graph = Graph::parse(kText, "test");
    for (ParameterStore* each : {&store, &reals}) {
      const Network declared(graph, layers::float_layers(), *each, {.batch = kBatch});
      layers::shake(*each);
    }
    QuantOptions options{.method = "ptq-static", .bias_correction = corrected};
    options.weight_bits = 2;
    options.first_last_bits = 0;
    quantized = quantize_network(
        graph, store, options, {.profile = integer::profile_named("int8")},
        [this](const auto& use) { use(images.view()); }, kBatch);
  }

  static std::vector<double> means(const Graph& graph, const layers::LayerRegistry& registry,
                                   ParameterStore& store, const Tensor& images,
                                   const std::string& node) {
    Network network(graph, registry, store,
                    {.batch = kBatch, .training = false, .keep_all_tensors = true});
    network.forward(images, layers::Phase::kEvaluate);
    const ConstTensorView tensor = network.tensor(node);
    const auto channels = static_cast<std::size_t>(tensor.shape().c());
    std::vector<double> means(channels, 0.0);
    for (std::size_t i = 0; i < tensor.span<float>().size(); ++i) {
      means[i % channels] += double{tensor.span<float>()[i]} * static_cast<double>(channels) /
                             static_cast<double>(tensor.elements());
    }
    return means;
  }

  // Largest distance between the means of a node's channels, quantized and float.
  double mean_error(const std::string& node) {
    const auto found = means(quantized, quantized_layers(), store, images, node);
    const auto wanted =
        means(Graph::parse(kText, "test"), layers::float_layers(), reals, images, node);
    double most = 0.0;
    for (std::size_t o = 0; o < found.size(); ++o) {
      most = std::max(most, std::abs(found[o] - wanted[o]));
    }
    return most;
  }

  Tensor images;
  ParameterStore store{3};
  ParameterStore reals{3};
  Graph quantized;
};

// Behind batch norm and behind a bias, each with what came before it corrected: means are the float
// network's to f32's rounding. The product with neither keeps its shift.
TEST(BiasCorrection, GivesEveryChannelItsMeanBack) {
  Corrected plain(false);
  Corrected corrected(true);
  for (const std::string node : {"bn1", "conv2", "fc"}) {
    SCOPED_TRACE(node);
    EXPECT_GT(plain.mean_error(node), 1e-2);
    EXPECT_LT(corrected.mean_error(node), 1e-5);
  }
  EXPECT_GT(corrected.mean_error("bare"), 1e-3);
}

TEST(BiasCorrection, ReportsEachProduct) {
  Corrected setup(false);
  const auto done = correct_biases(
      setup.quantized, setup.store, setup.reals, [&](const auto& use) { use(setup.images.view()); },
      kBatch);
  ASSERT_EQ(done.size(), 4U);
  for (const BiasCorrection& layer : done) {
    EXPECT_EQ(layer.corrected, layer.layer != "bare") << layer.layer;
    EXPECT_EQ(layer.mean_shift > 0.0, layer.corrected) << layer.layer;
  }
  // A second time there is nothing left to do.
  for (const BiasCorrection& layer : correct_biases(
           setup.quantized, setup.store, setup.reals,
           [&](const auto& use) { use(setup.images.view()); }, kBatch)) {
    EXPECT_LT(layer.mean_shift, 1e-5) << layer.layer;
  }
}

TEST(BiasCorrection, NeedsImagesAndFiniteValues) {
  Corrected setup(false);
  EXPECT_ERROR(ConfigError,
               correct_biases(
                   setup.quantized, setup.store, setup.reals, [](const auto&) {}, kBatch),
               "bias correction: expected at least one full batch");
  setup.reals.at("conv2.bias").value.data<float>()[1] = std::nanf("");
  EXPECT_ERROR(NumericError,
               correct_biases(
                   setup.quantized, setup.store, setup.reals,
                   [&](const auto& use) { use(setup.images.view()); }, kBatch),
               "conv2: expected finite values during bias correction");
}

}  // namespace
}  // namespace bitloom::quant
