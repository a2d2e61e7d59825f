// What calibration refuses, and what its options reach.
#include "bitloom/quant/calibrate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::ParameterStore;

constexpr std::int64_t kBatch = 4;

struct Calibrated {
  explicit Calibrated(QuantOptions quant = {.method = "ptq-static"}) : options(std::move(quant)) {
    const Graph plain = Graph::parse(R"(bitloom-graph 1
input = input(shape=2x6x6)
conv1.weight = parameter(shape=4x2x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
relu1 = relu(conv1)
flatten = flatten(relu1)
fc.weight = parameter(shape=3x144)
fc = linear(flatten, fc.weight, bias=1)
)",
                                     "test");
    const layers::Network declared(plain, layers::float_layers(), store, {.batch = kBatch});
    graph = insert_fake_quant(plain, options, integer::profile_named("int8"), true);
    images = Tensor(DType::kF32, Shape{kBatch, 2, 6, 6});
    const RandomStream random(5, "images");
    for (std::int64_t i = 0; i < images.elements(); ++i) {
      images.data<float>()[i] = random.normal(static_cast<std::uint64_t>(i));
    }
  }
  Graph run() {
    return calibrate(
        graph, store, [this](const auto& use) { use(images.view()); }, kBatch,
        calibration_options(options));
  }
  float scale(const std::string& node) { return store.at(node + ".scale").value.data<float>()[0]; }

  QuantOptions options;
  ParameterStore store{3};
  Graph graph;
  Tensor images;
};

TEST(Calibrate, NamesAConstantActivation) {
  Calibrated setup;
  for (float& weight : setup.store.at("conv1.weight").value.span<float>()) weight = 0.0F;
  EXPECT_ERROR(NumericError, setup.run(),
               "relu1: expected values that differ during calibration, found the constant 0");
}

TEST(Calibrate, RefusesCopiesOfOneImage) {
  Calibrated setup;
  const std::int64_t size = setup.images.elements() / kBatch;
  for (std::int64_t i = size; i < setup.images.elements(); ++i) {
    setup.images.data<float>()[i] = setup.images.data<float>()[i % size];
  }
  EXPECT_ERROR(ConfigError, setup.run(), "found 4 copies of one image");
}

TEST(Calibrate, RefusesAConstantSet) {
  Calibrated setup;
  for (float& pixel : setup.images.span<float>()) pixel = 0.25F;
  EXPECT_ERROR(ConfigError, setup.run(), "calibration: expected images that differ");
}

TEST(Calibrate, RefusesObserversThatAreNotForWeights) {
  QuantOptions options;
  options.weight_observer = "kl";
  EXPECT_ERROR(ConfigError, calibration_options(options), "quant.weight_observer");
}

TEST(Calibrate, EveryObserverSetsEveryScale) {
  for (const char* word : {"minmax", "ema", "percentile", "kl", "mse"}) {
    SCOPED_TRACE(word);
    Calibrated setup({.method = "ptq-static", .observer = word, .percentile = 90.0});
    setup.run();
    float most = 0.0F;
    for (const float pixel : setup.images.span<float>()) most = std::max(most, std::abs(pixel));
    EXPECT_LE(setup.scale("input.q"), most / 127.0F);
    EXPECT_GT(setup.scale("input.q"), most / 127.0F / 8.0F);
    EXPECT_NE(setup.scale("conv1.weight.q"), 1.0F);
    if (std::string(word) == "percentile") {
      EXPECT_LT(setup.scale("input.q"), 0.9F * most / 127.0F);
    }
  }
}

// Nine pixels of ten are 0.8 in the dark, the others spread up to 2: a spike that entropy clips at.
TEST(Calibrate, EntropyLeavesPixelsWhole) {
  Calibrated setup({.method = "ptq-static", .observer = "kl"});
  const RandomStream random(6, "bright");
  for (std::int64_t i = 0; i < setup.images.elements(); ++i) {
    const float bright = 2.0F * random.uniform(static_cast<std::uint64_t>(i));
    setup.images.data<float>()[i] = i % 10 == 0 ? bright : -0.8F;
  }
  float most = 0.0F;
  for (const float pixel : setup.images.span<float>()) most = std::max(most, pixel);
  setup.run();
  EXPECT_GT(setup.scale("input.q"), 0.9F * most / 127.0F);
}

TEST(Calibrate, WeightsMayHaveTheirOwnObserver) {
  Calibrated both({.method = "ptq-static", .observer = "minmax", .weight_bits = 4});
  Calibrated own({.method = "ptq-static",
                  .observer = "minmax",
                  .weight_observer = "percentile",
                  .percentile = 80.0,
                  .weight_bits = 4});
  both.run();
  own.run();
  EXPECT_EQ(own.scale("relu1.q"), both.scale("relu1.q"));
  EXPECT_LT(own.scale("conv1.weight.q"), both.scale("conv1.weight.q"));
}

TEST(Calibrate, PowersOfTwoReachWeightsAndActivations) {
  for (const char* word : {"minmax", "mse"}) {
    for (const bool asymmetric : {false, true}) {
      SCOPED_TRACE(cat(word, " ", asymmetric));
      QuantOptions options{.method = "ptq-static", .observer = word, .power_of_two = true};
      options.asymmetric = asymmetric;
      Calibrated setup(options);
      for (std::int64_t i = 0; i < 18; ++i) {  // a dead channel takes a power of two as well
        setup.store.at("conv1.weight").value.data<float>()[i] = 0.0F;
      }
      setup.run();
      int scales = 0;
      for (const auto& [name, parameter] : setup.store.all()) {
        if (!name.ends_with(".scale")) continue;
        for (const float scale : parameter.value.span<float>()) {
          int exponent = 0;
          EXPECT_EQ(std::frexp(scale, &exponent), 0.5F) << name;
          ++scales;
        }
      }
      EXPECT_EQ(scales, 2 + 4 + 3);
    }
  }
}

// The second branch's bias takes its values far beyond the first's: the one grid holds both.
TEST(Calibrate, FitsTheGridOfAConcatToAllItsInputs) {
  const Graph plain = Graph::parse(R"(bitloom-graph 1
input = input(shape=2x6x6)
a.weight = parameter(shape=3x2x1x1)
a = conv2d(input, a.weight)
a.act = relu(a)
b.weight = parameter(shape=4x2x1x1)
b = conv2d(input, b.weight, bias=1)
cat = concat(a.act, b)
c.weight = parameter(shape=3x7x1x1)
c = conv2d(cat, c.weight)
)",
                                   "test");
  for (const char* word : {"minmax", "mse"}) {
    SCOPED_TRACE(word);
    Calibrated setup({.method = "ptq-static", .observer = word});
    const layers::Network declared(plain, layers::float_layers(), setup.store, {.batch = kBatch});
    setup.graph = insert_fake_quant(plain, setup.options, integer::profile_named("int8"), true);
    setup.store.at("b.bias").value.data<float>()[1] = -40.0F;
    const Graph graph = setup.run();
    EXPECT_EQ(graph.find("b.q")->word("share", ""), "a.act.q");
    EXPECT_NEAR(setup.scale("a.act.q"), 40.0F / 128.0F, 10.0F / 128.0F);
    EXPECT_FALSE(setup.store.has("b.q.scale"));
  }
}

// A joined node widens its owner's range at once; the scale follows at the owner's next step.
TEST(Ema, HoldsTheValuesOfJoinedNodes) {
  ParameterStore store(7);
  layers::Network network(Graph::parse(R"(bitloom-graph 1
input = input(shape=1x2x2)
a = relu(input)
a.q = fake_quant(a, quantizer=ema, decay=0.5, bits=8, dtype=s8, qmin=-128, qmax=127)
b = hardtanh(input, low=-9, high=9)
b.q = fake_quant(b, quantizer=ema, bits=8, dtype=s8, qmin=-128, qmax=127, share=a.q, joined=1)
cat = concat(a.q, b.q)
)",
                                       "test"),
                          quantized_layers(), store, {.batch = 1});
  const std::vector<float> values{-6.0F, 2.0F, 1.0F, 0.0F};
  const Tensor images = make_tensor<float>(Shape{1, 1, 2, 2}, values);
  const float* range = store.at("a.q.range").value.data<float>();
  const float* scale = store.at("a.q.scale").value.data<float>();
  network.forward(images, layers::Phase::kTrain);
  EXPECT_EQ(range[0], -6.0F);  // of b; a's batch has [0, 2]
  EXPECT_EQ(range[1], 2.0F);
  EXPECT_FLOAT_EQ(scale[0], 2.0F / 127.0F);
  network.forward(images, layers::Phase::kTrain);
  EXPECT_FLOAT_EQ(scale[0], 3.0F / 128.0F);  // halfway back to a's, before b widens it again
  EXPECT_EQ(range[0], -6.0F);
  network.forward(images, layers::Phase::kEvaluate);
  EXPECT_EQ(range[0], -6.0F);
}

}  // namespace
}  // namespace bitloom::quant
