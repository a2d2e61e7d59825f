// Small graphs exported in float and by the methods that quantize weights alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/backends/session.h"
#include "deploy/prepared_graph.h"
#include "deploy/small_graphs.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::Model;

class GraphMethods : public testing::TestWithParam<SmallGraph> {};

Tensor logits_by(const Model& model, const PreparedGraph& prepared, const char* backend) {
  // Under AVX2 oneDNN declines grouped convolutions of few channels.
  backends::Session session(model, {.backend = backend,
                                    .batch = kBatch,
                                    .fallback_to_reference = effective_isa() <= Isa::kAvx2});
  Tensor logits(DType::kF32, Shape{kBatch, model.classes()});
  session.run(prepared.pixels, logits);
  return logits;
}

/// Largest |a - b| over the largest |b|.
double relative_difference(ConstTensorView a, ConstTensorView b) {
  double largest = 0.0;
  double difference = 0.0;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    const double x = a.data<float>()[i];
    const double y = b.data<float>()[i];
    largest = std::max(largest, std::abs(y));
    difference = std::max(difference, std::abs(x - y));
  }
  EXPECT_GT(largest, 0.01);
  return difference / largest;
}

// Batch norm folded into weights and sums in another order: rounding alone.
TEST_P(GraphMethods, FloatModelsComputeTheFloatNetwork) {
  Variant variant{"", {.method = "float"}};
  PreparedGraph prepared(GetParam().text, variant);
  prepared.graph = prepared.float_graph;
  variant.profile = "";
  const Model model = prepared.lowered(variant);
  for (const integer::Layer& layer : model.layers) EXPECT_EQ(layer.mode, ComputeMode::kFloat);
  layers::Network network(prepared.float_graph, layers::float_layers(), prepared.store,
                          {.batch = kBatch, .training = false});
  const ConstTensorView found = network.forward(prepared.images, layers::Phase::kEvaluate);
  const Tensor reference = logits_by(model, prepared, "reference");
  EXPECT_LT(relative_difference(reference, found), 1e-5);
  EXPECT_LT(relative_difference(logits_by(model, prepared, "onednn"), reference), 1e-5);
}

TEST_P(GraphMethods, DynamicModelsAreTheSameOnEveryBackend) {
  for (const char* profile : {"int8", "int8-reduced"}) {
    const Variant variant{profile, {.method = "ptq-dynamic"}, profile};
    if (!runs_here(variant)) continue;
    const PreparedGraph prepared(GetParam().text, variant);
    const Model model = prepared.lowered(variant);
    int products = 0;
    for (const integer::Layer& layer : model.layers) {
      products += layer.mode == ComputeMode::kDynamic;
    }
    EXPECT_GE(products, 5);
    EXPECT_TRUE(
        same_bytes(logits_by(model, prepared, "onednn"), logits_by(model, prepared, "reference")))
        << profile;
  }
}

TEST_P(GraphMethods, WeightOnlyModelsAgreeWithinRounding) {
  Variant variant{"", {.method = "ptq-weight-only", .weight_bits = 4}};
  const PreparedGraph prepared(GetParam().text, variant);
  variant.profile = "";
  const Model model = prepared.lowered(variant);
  EXPECT_LT(relative_difference(logits_by(model, prepared, "onednn"),
                                logits_by(model, prepared, "reference")),
            1e-5);
}

INSTANTIATE_TEST_SUITE_P(Graphs, GraphMethods, testing::ValuesIn(small_graphs()),
                         [](const auto& one) { return one.param.name; });

}  // namespace
}  // namespace bitloom::deploy
