// What a step of dropout drops, and that a resumed run drops the same.
#include <gtest/gtest.h>

#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"
#include "support/tensor_matchers.h"

namespace bitloom::layers {
namespace {

constexpr const char* kText =
    "bitloom-graph 1\nx = input(shape=4x5x3)\na = dropout(x)\nb = dropout(x)\ny = add(a, b)\n";

// The network over a store of its own, and images.
struct Training {
  explicit Training(std::uint64_t seed)
      : store(seed),
        network(Graph::parse(kText, "test"), float_layers(), store,
                {.batch = 7, .keep_all_tensors = true}),
        images(DType::kF32, {7, 4, 5, 3}) {
    fill_normal(images, "images");
  }
  Tensor step(const std::string& node) {
    network.forward(images, Phase::kTrain);
    const ConstTensorView output = network.tensor(node);
    Tensor kept = like(output);
    copy(output, kept);
    return kept;
  }
  ParameterStore store;
  Network network;
  Tensor images;
};

TEST(DropoutLayer, StepsNodesAndSeedsDropOtherElements) {
  Training run(1), twin(1), other(2);
  const Tensor first = run.step("y");
  EXPECT_THAT(twin.step("y"), TensorEq(first));
  EXPECT_THAT(run.step("y"), testing::Not(TensorEq(first)));
  EXPECT_THAT(other.step("y"), testing::Not(TensorEq(first)));
  EXPECT_THAT(run.step("a"), testing::Not(TensorEq(twin.step("b"))));
}

TEST(DropoutLayer, ResumesFromItsStep) {
  Training run(1), resumed(1);
  run.step("y");
  run.step("y");
  for (const auto& [name, parameter] : run.store.all()) {
    copy(parameter.value, resumed.store.at(name).value);
  }
  EXPECT_EQ(resumed.store.at("a.step").value.data<float>()[0], 2.0F);
  EXPECT_THAT(resumed.step("y"), TensorEq(run.step("y")));
}

TEST(DropoutLayer, EvaluationIsTheIdentityAndCountsNoStep) {
  Training run(1);
  run.network.forward(run.images, Phase::kEvaluate);
  EXPECT_THAT(run.network.tensor("a"), TensorEq(run.images));
  EXPECT_EQ(run.store.at("a.step").value.data<float>()[0], 0.0F);
  EXPECT_EQ(run.store.at("a.step").role, Role::kQuantizerState);
}

}  // namespace
}  // namespace bitloom::layers
