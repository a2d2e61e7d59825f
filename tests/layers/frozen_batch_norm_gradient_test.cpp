// Batch norm with frozen statistics: training computes what evaluation does, its gradients follow
// the formula of src/layers/channel_norm.h, and the statistics keep still.
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"

namespace bitloom::layers {
namespace {

struct FrozenBatchNorm : testing::Test {
  FrozenBatchNorm()
      : network(Graph::parse("bitloom-graph 1\ninput = input(shape=1)\n"
                             "x = parameter(shape=4x5x3x3)\ny = batch_norm(x, frozen=1)\n",
                             "case"),
                float_layers(), store, {.batch = 1}) {
    shake(store);
    fill_normal(store.at("y.running_mean").value, "mean", 0.2F, 0.5F);
    for (std::int64_t c = 0; c < 5; ++c) {
      store.at("y.running_var").value.data<float>()[c] = 0.3F + 0.4F * static_cast<float>(c);
    }
  }
  const float* value(const char* name) { return store.at(name).value.data<float>(); }

  ParameterStore store{5};
  Network network;
  Tensor images{DType::kF32, Shape{1, 1}};
};

TEST_F(FrozenBatchNorm, TrainsByItsFormulaAndKeepsItsStatistics) {
  const Tensor mean = store.at("y.running_mean").value.clone();
  const Tensor variance = store.at("y.running_var").value.clone();
  const Tensor evaluated = [&] {
    const ConstTensorView y = network.forward(images, Phase::kEvaluate);
    Tensor kept(DType::kF32, y.shape());
    copy(y, kept);
    return kept;
  }();
  const ConstTensorView y = network.forward(images, Phase::kTrain);
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    ASSERT_EQ(y.data<float>()[i], evaluated.data<float>()[i]) << i;
  }
  Tensor dy(DType::kF32, y.shape());
  fill_normal(dy, "loss");
  network.backward(dy);
  constexpr std::int64_t kChannels = 5;
  double dgamma[kChannels] = {};
  double dbeta[kChannels] = {};
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    const std::int64_t c = i % kChannels;  // channels-last
    const double r = 1.0 / std::sqrt(static_cast<double>(variance.data<float>()[c]) + 1e-5);
    const double g = static_cast<double>(dy.data<float>()[i]);
    dgamma[c] += g * r * static_cast<double>(value("x")[i] - mean.data<float>()[c]);
    dbeta[c] += g;
    EXPECT_NEAR(store.at("x").gradient.data<float>()[i],
                static_cast<double>(value("y.gamma")[c]) * r * g, 1e-5);
  }
  for (std::int64_t c = 0; c < kChannels; ++c) {
    EXPECT_NEAR(store.at("y.gamma").gradient.data<float>()[c], dgamma[c], 1e-4);
    EXPECT_NEAR(store.at("y.beta").gradient.data<float>()[c], dbeta[c], 1e-4);
    EXPECT_EQ(value("y.running_mean")[c], mean.data<float>()[c]);
    EXPECT_EQ(value("y.running_var")[c], variance.data<float>()[c]);
  }
}

}  // namespace
}  // namespace bitloom::layers
