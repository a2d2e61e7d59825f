// A measured choice of implementations: it changes names and times, no bit.
#include "bitloom/backends/tune.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <functional>

#include "backends/hand_models.h"
#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::backends {
namespace {

using integer::ComputeMode;
using integer::Model;

Tensor run(Session& session, const Model& model, const Tensor& images) {
  Tensor logits(DType::kF32, Shape{images.shape().n(), model.classes()});
  session.run(images, logits);
  return logits;
}

bool same_bytes(ConstTensorView a, ConstTensorView b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

std::vector<std::string> wishes(const Model& model, const std::string& name) {
  return std::vector<std::string>(model.layers.size(), name);
}

TEST(SessionPrefer, TakesTheNamedImplementationWhereItCanAndTheSameBits) {
  for (const Model& model : integer::hand_models("int8-reduced", ComputeMode::kStatic)) {
    const Tensor images = integer::random_images(model.tensors.front().shape.with_batch(2), 11);
    Session reference(model, {.backend = "reference", .batch = 2});
    const Tensor expected = run(reference, model, images);
    for (const char* name :
         {"own", "onednn", "onednn-next", "own-vnni", "xnor", "no such one", ""}) {
      Session session(model, {.batch = 2, .prefer = wishes(model, name)});
      EXPECT_TRUE(same_bytes(run(session, model, images), expected)) << name;
    }
  }
}

TEST(SessionPrefer, OwnDepthwiseKernelOrOnednns) {
  const Model model = integer::small_residual_model("int8-reduced", ComputeMode::kStatic);
  const auto depthwise = [&](const std::string& name) {
    const Session session(model, {.prefer = wishes(model, name)});
    for (const PlanRow& row : session.plan()) {
      if (row.layer == "depthwise") return row;
    }
    return PlanRow();
  };
  EXPECT_EQ(depthwise("").chosen, "own");
  EXPECT_THAT(depthwise("").implementation, testing::StartsWith("bitloom:depthwise:"));
  EXPECT_EQ(depthwise("onednn").chosen, "onednn");
  EXPECT_THAT(depthwise("onednn").implementation, testing::Not(testing::StartsWith("bitloom")));
}

TEST(SessionPrefer, OwnConvolutionsWriteIntoAConcat) {
  if (effective_isa() != Isa::kAvx512Vnni) GTEST_SKIP() << "only that CPU takes them by itself";
  const Model model = integer::small_fire_model("int8", ComputeMode::kStatic);
  const auto chosen = [&](const Session& session, const std::string& layer) {
    for (const PlanRow& row : session.plan()) {
      if (row.layer == layer) return row.implementation;
    }
    return std::string();
  };
  const Session usual(model, {});
  const Session own(model, {.prefer = wishes(model, "own-vnni")});
  const Session onednn(model, {.prefer = wishes(model, "onednn")});
  EXPECT_EQ(chosen(usual, "one"), "bitloom:vnni");
  EXPECT_THAT(chosen(usual, "three"), testing::StartsWith("brgconv"));
  EXPECT_EQ(chosen(own, "three"), "bitloom:vnni");
  EXPECT_THAT(chosen(onednn, "one"), testing::StartsWith("brgconv"));
  // Of sum, three, read_twice and one: what another layer reads too stays where it is.
  EXPECT_EQ(chosen(usual, "joined"), "bitloom:concat, 2 in place");
  EXPECT_EQ(chosen(own, "joined"), "bitloom:concat, 3 in place");
  EXPECT_EQ(chosen(onednn, "joined"), "bitloom:concat");
}

TEST(SessionPrefer, NeedsANameForEachLayer) {
  const Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
  EXPECT_ERROR(ConfigError, Session(model, {.prefer = {"own"}}), "preferred implementations",
               "one a layer, 6", "found 1");
}

TEST(Tune, ChoosesForEachLayerWhatWasMeasuredFaster) {
  const auto model_of = [] {
    return integer::small_residual_model("int8-reduced", ComputeMode::kStatic);
  };
  const Model model = model_of();
  const SessionOptions options{.batch = 2};
  const std::vector<TunedLayer> layers = tune(model, options, {.seconds = 0.02});
  ASSERT_EQ(layers.size(), model.layers.size());
  Session usual(model, options);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(layers[i].layer, model.layers[i].name);
    EXPECT_EQ(layers[i].usual, usual.plan()[i].chosen);
    EXPECT_GT(layers[i].usual_ms, 0.0);
    if (layers[i].chosen == layers[i].usual) {
      EXPECT_EQ(layers[i].chosen_ms, layers[i].usual_ms);
    } else {
      EXPECT_LE(layers[i].chosen_ms, 0.97 * layers[i].usual_ms);
    }
  }
  Model carrying = model_of();
  carrying.tuned.push_back(tuned_plan(layers, options));
  Session tuned(carrying, options);
  for (std::size_t i = 0; i < layers.size(); ++i) {
    EXPECT_EQ(tuned.plan()[i].chosen, layers[i].chosen);
  }
  const Tensor images = integer::random_images(model.tensors.front().shape.with_batch(2), 11);
  EXPECT_TRUE(same_bytes(run(usual, model, images), run(tuned, model, images)));
}

// Other threads, another batch: the plan says nothing about them.
TEST(Tune, PlanHoldsForItsOwnMachineAlone) {
  Model model = integer::small_residual_model("int8-reduced", ComputeMode::kStatic);
  const auto carry = [&](const integer::TunedFor& where) {
    model.tuned = {{.where = where,
                    .implementations = std::vector<std::string>(model.layers.size(), "onednn")}};
  };
  const auto depthwise = [&] {
    const Session session(model, {});
    for (const PlanRow& row : session.plan()) {
      if (row.layer == "depthwise") return row.chosen;
    }
    return std::string();
  };
  const integer::TunedFor here = tuned_for({});
  carry(here);
  EXPECT_EQ(depthwise(), "onednn");
  const std::vector<std::function<void(integer::TunedFor&)>> changes{
      [](integer::TunedFor& other) { other.cpu += " II"; },
      [](integer::TunedFor& other) { other.isa = "sse41"; },
      [](integer::TunedFor& other) { other.backend = "xnor"; },
      [](integer::TunedFor& other) { other.threads += 1; },
      [](integer::TunedFor& other) { other.batch = 7; }};
  for (const auto& change : changes) {
    integer::TunedFor other = here;
    change(other);
    carry(other);
    EXPECT_EQ(depthwise(), "own");
  }
  carry(here);
  model.tuned.front().implementations.pop_back();  // of another network
  EXPECT_EQ(depthwise(), "own");
}

// Nothing can be that much faster.
TEST(Tune, KeepsTheUsualOneWithoutAGain) {
  const Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
  for (const TunedLayer& layer : tune(model, {}, {.seconds = 0.01, .least_gain = 1.0})) {
    EXPECT_EQ(layer.chosen, layer.usual) << layer.layer;
  }
}

}  // namespace
}  // namespace bitloom::backends
