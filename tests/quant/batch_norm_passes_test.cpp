#include "bitloom/quant/batch_norm_passes.h"

#include <gtest/gtest.h>

#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;

Graph parse(const std::string& nodes) { return Graph::parse("bitloom-graph 1\n" + nodes, "test"); }

constexpr const char* kNet = R"(input = input(shape=3x6x6)
c1.weight = parameter(shape=8x3x3x3)
c1 = conv2d(input, c1.weight, pad=1)
b1 = batch_norm(c1)
r1 = relu(b1)
c2.weight = parameter(shape=8x8x3x3)
c2 = conv2d(r1, c2.weight, pad=1, bias=1)
b2 = batch_norm(c2, epsilon=0.01)
a = add(b2, r1)
b3 = batch_norm(a)
f = flatten(b3)
fc.weight = parameter(shape=4x288)
fc = linear(f, fc.weight, bias=1)
)";

void randomize(layers::ParameterStore& store) {
  for (auto& [name, parameter] : store.all()) {
    const RandomStream random(3, name);
    const bool positive = name.ends_with("_var");
    std::uint64_t i = 0;
    for (float& value : parameter.value.span<float>()) {
      value = positive ? 0.5F + random.uniform(i) : 0.3F * random.normal(i);
      ++i;
    }
  }
}

Tensor logits(const Graph& graph, layers::ParameterStore& store) {
  layers::Network network(graph, layers::float_layers(), store, {.batch = 2, .training = false});
  Tensor images(DType::kF32, Shape{2, 3, 6, 6});
  const RandomStream random(4, "images");
  std::uint64_t i = 0;
  for (float& value : images.span<float>()) value = random.normal(i++);
  const ConstTensorView y = network.forward(images, layers::Phase::kEvaluate);
  Tensor out(DType::kF32, y.shape());
  copy(y, out);
  return out;
}

// b3 stands behind an add, which has no weight: it stays.
TEST(FoldBatchNorm, RewritesTheGraph) {
  layers::ParameterStore store(5);
  const layers::Network declared(parse(kNet), layers::float_layers(), store, {.batch = 1});
  const Graph folded = fold_batch_norm(parse(kNet), store);
  EXPECT_EQ(folded.to_text(), parse(R"(input = input(shape=3x6x6)
c1.weight = parameter(shape=8x3x3x3)
c1 = conv2d(input, c1.weight, pad=1, bias=1)
r1 = relu(c1)
c2.weight = parameter(shape=8x8x3x3)
c2 = conv2d(r1, c2.weight, pad=1, bias=1)
a = add(c2, r1)
b3 = batch_norm(a)
f = flatten(b3)
fc.weight = parameter(shape=4x288)
fc = linear(f, fc.weight, bias=1)
)")
                                  .to_text());
  EXPECT_FALSE(store.has("b1.gamma"));
  EXPECT_TRUE(store.has("b3.running_var"));
  EXPECT_EQ(fold_batch_norm(folded, store).to_text(), folded.to_text());
}

TEST(FoldBatchNorm, KeepsTheFunction) {
  layers::ParameterStore store(5);
  const layers::Network declared(parse(kNet), layers::float_layers(), store, {.batch = 1});
  randomize(store);
  const Tensor before = logits(parse(kNet), store);
  const Tensor after = logits(fold_batch_norm(parse(kNet), store), store);
  for (std::int64_t i = 0; i < before.elements(); ++i) {
    EXPECT_NEAR(after.data<float>()[i], before.data<float>()[i], 1e-5) << i;
  }
}

TEST(FoldBatchNorm, RefusesASharedWeight) {
  layers::ParameterStore store(5);
  const Graph graph = parse(R"(input = input(shape=3x6x6)
w = parameter(shape=3x3x1x1)
c1 = conv2d(input, w)
b1 = batch_norm(c1)
c2 = conv2d(b1, w)
)");
  const layers::Network declared(graph, layers::float_layers(), store, {.batch = 1});
  EXPECT_ERROR(ConfigError, fold_batch_norm(graph, store), "b1", "fold_batch_norm=false");
}

TEST(FreezeBatchNorm, MarksEveryNodeAndStripTakesTheMarkAway) {
  const Graph frozen = freeze_batch_norm(parse(kNet));
  for (const char* name : {"b1", "b2", "b3"}) {
    EXPECT_EQ(frozen.find(name)->integer("frozen", 0), 1) << name;
  }
  EXPECT_EQ(strip_fake_quant(frozen).to_text(), parse(kNet).to_text());
}

}  // namespace
}  // namespace bitloom::quant
