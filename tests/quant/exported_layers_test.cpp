// The exported layer's formula in training, against the layers that it replaces.
#include "bitloom/quant/exported_layers.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/batch_norm_passes.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"
#include "support/residual_graph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Network;
using layers::ParameterStore;
using layers::Phase;

constexpr std::int64_t kBatch = 5;

Graph float_graph() {
  return Graph::parse(residual_text({.stem_attributes = ", bias=1",
                                     .stem_norm_attributes = ", epsilon=0.01",
                                     .tail = R"(mid.weight = parameter(shape=8x64)
flatten = flatten(relu2)
mid = linear(flatten, mid.weight, bias=1)
relu3 = relu(mid)
fc.weight = parameter(shape=7x8)
fc = linear(relu3, fc.weight, bias=1)
)"}),
                      "test");
}

struct Frozen {
  explicit Frozen(const std::string& profile) : images(random_images(kBatch)) {
    const Network declared(float_graph(), layers::float_layers(), store, {.batch = kBatch});
    for (auto& [name, parameter] : store.all()) {
      const RandomStream random(3, name);
      std::uint64_t i = 0;
      for (float& value : parameter.value.span<float>()) {
        if (name.ends_with("_var")) value = 0.5F + random.uniform(i);
        if (name.ends_with("mean") || name.ends_with(".bias")) value = 0.2F * random.normal(i);
        if (name.ends_with("gamma")) value = 1.0F + 0.3F * random.normal(i);
        ++i;
      }
    }
    const Graph graph = insert_fake_quant(float_graph(), {.method = "qat", .quantizer = "lsq"},
                                          integer::profile_named(profile), true);
    learning = calibrate(graph, store, [&](const auto& use) { use(images.view()); }, kBatch, {});
  }
  ParameterStore store{7};
  Tensor images;
  Graph learning;  // batch norm not frozen yet
};

double largest(ConstTensorView tensor) {
  double most = 0.0;
  for (const float value : tensor.span<float>()) {
    most = std::max(most, std::abs(static_cast<double>(value)));
  }
  return most;
}

TEST(ExportedForward, TakesTheChainsOfAFrozenNetwork) {
  const Frozen setup("int8");
  EXPECT_EQ(use_integer_forward(setup.learning).find("conv1")->op, "quantized_conv2d");
  const Graph graph = use_integer_forward(freeze_batch_norm(setup.learning));
  const std::string text = graph.to_text();
  constexpr const char* kConv1 =
      "conv1 = exported_conv2d(input.q, conv1.weight.q, pad=1, bias=1, unit=relu1.q, "
      "batch_norm=bn1, epsilon=0.01)";
  for (const char* line : {kConv1, "relu1.q = fake_quant(conv1, ",
                           "add1 = exported_add(conv2, down.bn.q, unit=relu2.q)",
                           "mid = exported_linear(flatten, mid.weight.q, bias=1, unit=relu3.q)",
                           "fc = quantized_linear(relu3.q, fc.weight.q, bias=1)"}) {
    EXPECT_NE(text.find(line), std::string::npos) << line << " in\n" << text;
  }
  EXPECT_EQ(graph.find("bn1"), nullptr);
  EXPECT_EQ(graph.find("relu2"), nullptr);
}

// A scale that the step itself still moves is not known before the product.
TEST(ExportedForward, LeavesScalesThatTheStepMoves) {
  Frozen setup("int8");
  Graph graph = freeze_batch_norm(setup.learning);
  graph.find("relu1.q")->set("quantizer", "ema");
  EXPECT_EQ(use_integer_forward(graph).find("conv1")->op, "quantized_conv2d");
  graph.find("relu1.q")->set("frozen", "1");
  EXPECT_EQ(use_integer_forward(graph).find("conv1")->op, "exported_conv2d");
}

// The same step through quantized_conv2d > batch_norm > relu, which rounds where the exported
// formula does not: a code in ten thousand may differ, so gradients agree closely, not exactly.
TEST(ExportedForward, GradientsAreThoseOfTheLayersItReplaces) {
  for (const char* profile : {"int8", "int8-reduced"}) {
    SCOPED_TRACE(profile);
    Frozen setup(profile);
    Frozen twin(profile);
    Network exported(use_integer_forward(freeze_batch_norm(setup.learning)), quantized_layers(),
                     setup.store, {.batch = kBatch});
    Network plain(freeze_batch_norm(use_integer_forward(twin.learning)), quantized_layers(),
                  twin.store, {.batch = kBatch});
    Tensor gradient(DType::kF32, Shape{kBatch, 7});
    for (std::int64_t i = 0; i < gradient.elements(); ++i) {
      gradient.data<float>()[i] = 0.01F * static_cast<float>(i % 4 - 1);
    }
    const ConstTensorView a = exported.forward(setup.images, Phase::kTrain);
    const ConstTensorView b = plain.forward(twin.images, Phase::kTrain);
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      EXPECT_NEAR(a.data<float>()[i], b.data<float>()[i], 1e-2 * largest(b)) << i;
    }
    exported.backward(gradient);
    plain.backward(gradient);
    int compared = 0;
    for (const auto& [name, parameter] : setup.store.all()) {
      if (!layers::is_trainable(parameter.role)) continue;
      const Tensor& expected = twin.store.at(name).gradient;
      const double most = largest(expected);
      EXPECT_GT(most, 0.0) << name;
      // A scale's gradient is what is left of a sum whose terms cancel.
      const double tolerance = parameter.role == layers::Role::kQuantizerScale ? 1e-2 : 1e-3;
      for (std::int64_t i = 0; i < expected.elements(); ++i) {
        ASSERT_NEAR(parameter.gradient.data<float>()[i], expected.data<float>()[i],
                    tolerance * most)
            << name << "[" << i << "]";
      }
      ++compared;
    }
    EXPECT_EQ(compared, 23);  // 5 weights, 3 biases, 6 of batch norm, 9 scales
  }
}

}  // namespace
}  // namespace bitloom::quant
