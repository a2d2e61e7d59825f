// A network whose forward pass runs on integers against the same network simulated in float.
#include "bitloom/quant/quantized_layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "bitloom/layers/network.h"
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
constexpr CalibrationOptions kMinMax{.activations = {.kind = ObserverKind::kMinMax},
                                     .weights = {.kind = ObserverKind::kMinMax}};

Graph residual_graph() { return Graph::parse(residual_text(), "test"); }

struct QatSetup {
  explicit QatSetup(const std::string& quantizer, const std::string& profile = "int8",
                    int bits = 8) {
    const QuantOptions options{
        .method = "qat", .quantizer = quantizer, .weight_bits = bits, .activation_bits = bits};
    images = random_images(kBatch);
    const Network declared(residual_graph(), layers::float_layers(), store, {.batch = kBatch});
    graph = insert_fake_quant(residual_graph(), options, integer::profile_named(profile), true);
    graph = calibrate(graph, store, [&](const auto& use) { use(images.view()); }, kBatch, {});
  }
  ParameterStore store{7};
  Tensor images;
  Graph graph;
};

double largest(ConstTensorView tensor) {
  double most = 0.0;
  for (const float value : tensor.span<float>()) {
    most = std::max(most, std::abs(static_cast<double>(value)));
  }
  return most;
}

void expect_close(ConstTensorView a, ConstTensorView b, double relative, const std::string& what) {
  ASSERT_EQ(a.shape(), b.shape()) << what;
  const double scale = largest(b);
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], relative * scale + 1e-12) << what << i;
  }
}

// The first convolution has the same codes on both sides, so its outputs may differ by the
// rounding of float sums alone.
TEST(IntegerForward, FirstConvolutionEqualsTheSimulation) {
  QatSetup setup("lsq");
  Network integer(use_integer_forward(setup.graph), quantized_layers(), setup.store,
                  {.batch = kBatch, .keep_all_tensors = true});
  Network simulated(setup.graph, quantized_layers(), setup.store,
                    {.batch = kBatch, .keep_all_tensors = true});
  integer.forward(setup.images, Phase::kTrain);
  simulated.forward(setup.images, Phase::kTrain);
  EXPECT_EQ(integer.edge("input.q").dtype, DType::kS8);
  expect_close(integer.tensor("conv1"), simulated.tensor("conv1"), 1e-5, "conv1 ");
}

// Codes may differ once in ten thousand (a sum that rounds to the other side of a tie), so
// gradients agree closely, not exactly.
TEST(IntegerForward, GradientsAgreeWithTheSimulation) {
  for (const char* quantizer : {"lsq", "ema"}) {
    SCOPED_TRACE(quantizer);
    QatSetup setup(quantizer);
    QatSetup twin(quantizer);
    Network integer(use_integer_forward(setup.graph), quantized_layers(), setup.store,
                    {.batch = kBatch});
    Network simulated(twin.graph, quantized_layers(), twin.store, {.batch = kBatch});
    Tensor gradient(DType::kF32, Shape{kBatch, 7});
    for (std::int64_t i = 0; i < gradient.elements(); ++i) {
      gradient.data<float>()[i] = 0.01F * static_cast<float>(i % 4 - 1);
    }
    const ConstTensorView a = integer.forward(setup.images, Phase::kTrain);
    const ConstTensorView b = simulated.forward(twin.images, Phase::kTrain);
    // The average pool rounds once on codes; in the simulation its ties may go the other way.
    expect_close(a, b, 0.03, "logits ");
    integer.backward(gradient);
    simulated.backward(gradient);
    int compared = 0;
    for (const auto& [name, parameter] : setup.store.all()) {
      if (!layers::is_trainable(parameter.role)) continue;
      expect_close(parameter.gradient, twin.store.at(name).gradient, 0.05, name + " ");
      EXPECT_GT(largest(parameter.gradient), 0.0) << name;
      ++compared;
    }
    EXPECT_GE(compared, quantizer == std::string("lsq") ? 18 : 11);
  }
}

TEST(IntegerForward, StepsRepeatBitForBit) {
  QatSetup setup("lsq", "int8", 4);
  Network network(use_integer_forward(setup.graph), quantized_layers(), setup.store,
                  {.batch = kBatch});
  Tensor gradient(DType::kF32, Shape{kBatch, 7});
  gradient.data<float>()[3] = 1.0F;
  const Tensor first = [&] {
    const ConstTensorView logits = network.forward(setup.images, Phase::kTrain);
    Tensor copied(DType::kF32, logits.shape());
    copy(logits, copied);
    return copied;
  }();
  network.backward(gradient);
  const Tensor scale_gradient = setup.store.at("relu1.q.scale").gradient.clone();
  const ConstTensorView again = network.forward(setup.images, Phase::kTrain);
  network.backward(gradient);
  EXPECT_EQ(std::memcmp(first.raw(), again.raw(), first.bytes()), 0);
  EXPECT_EQ(setup.store.at("relu1.q.scale").gradient.data<float>()[0],
            scale_gradient.data<float>()[0]);
}

TEST(FakeQuantLayer, RefusesACollapsedScale) {
  QatSetup setup("lsq");
  Network network(setup.graph, quantized_layers(), setup.store, {.batch = kBatch});
  setup.store.at("relu1.q.scale").value.data<float>()[0] = -0.1F;
  try {
    network.forward(setup.images, Phase::kTrain);
    FAIL() << "a negative scale was accepted";
  } catch (const NumericError& error) {
    EXPECT_NE(std::string(error.what()).find("relu1.q.scale"), std::string::npos) << error.what();
  }
}

// The first batch sets the range; 0.75 of it and 0.25 of twice the values make 1.25 of it; then
// 4-bit signed codes [-8, 7] need max / 7 or min / -8.
TEST(FakeQuantLayer, EmaFollowsTheRangeInTrainingOnly) {
  ParameterStore store(7);
  Network network(Graph::parse("bitloom-graph 1\n"
                               "input = input(shape=3x8x8)\n"
                               "q = fake_quant(input, quantizer=ema, decay=0.75, bits=4, dtype=s8, "
                               "qmin=-8, qmax=7)\n",
                               "test"),
                  quantized_layers(), store, {.batch = kBatch});
  const Tensor images = random_images(kBatch);
  Tensor doubled = images.clone();
  for (float& value : doubled.span<float>()) value *= 2.0F;
  const float* range = store.at("q.range").value.data<float>();
  network.forward(images, Phase::kTrain);
  const kernels::MinMax first{range[0], range[1]};
  EXPECT_LT(first.min, -2.0F);
  EXPECT_GT(first.max, 2.0F);
  network.forward(doubled, Phase::kTrain);
  EXPECT_NEAR(range[0], 1.25F * first.min, 1e-5F);
  EXPECT_NEAR(range[1], 1.25F * first.max, 1e-5F);
  EXPECT_FLOAT_EQ(store.at("q.scale").value.data<float>()[0],
                  std::max(range[1] / 7.0F, range[0] / -8.0F));
  network.forward(images, Phase::kEvaluate);
  EXPECT_NEAR(range[1], 1.25F * first.max, 1e-5F);
}

TEST(Calibrate, RefusesAnEmptySetAndNotANumber) {
  QatSetup setup("lsq");
  EXPECT_THROW(calibrate(
                   setup.graph, setup.store, [](const auto&) {}, kBatch, kMinMax),
               ConfigError);
  setup.store.at("conv1.weight").value.data<float>()[0] = std::nanf("");
  EXPECT_THROW(calibrate(
                   setup.graph, setup.store, [&](const auto& use) { use(setup.images.view()); },
                   kBatch, kMinMax),
               NumericError);
}

TEST(Calibrate, GivesADeadChannelAScaleItsNeighboursHave) {
  QatSetup setup("lsq");
  Tensor& weight = setup.store.at("conv1.weight").value;
  for (std::int64_t i = 0; i < 27; ++i) weight.data<float>()[i] = 0.0F;
  calibrate(
      setup.graph, setup.store, [&](const auto& use) { use(setup.images.view()); }, kBatch,
      kMinMax);
  const auto scale = setup.store.at("conv1.weight.q.scale").value.span<float>();
  const float largest_scale = *std::max_element(scale.begin(), scale.end());
  EXPECT_FLOAT_EQ(scale[0], largest_scale * 1e-3F);
}

}  // namespace
}  // namespace bitloom::quant
