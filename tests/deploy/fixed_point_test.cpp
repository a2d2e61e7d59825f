// Whole small graphs in profile fixed-point: integers alone between pixels and logits, the same
// bits on every backend.
#include <gtest/gtest.h>

#include <cfenv>
#include <cmath>

#include "bitloom/backends/session.h"
#include "bitloom/core/parallel.h"
#include "bitloom/integer/fixed_point.h"
#include "bitloom/integer/model_archive.h"
#include "deploy/prepared_graph.h"
#include "deploy/small_graphs.h"
#include "support/error_matchers.h"
#include "support/residual_graph.h"

namespace bitloom::deploy {
namespace {

using integer::ComputeMode;
using integer::LayerOp;
using integer::Model;

quant::QuantOptions fixed_options(int bits = 8) {
  quant::QuantOptions options{.method = "ptq-static"};
  options.power_of_two = true;
  options.per_channel = false;
  options.fold_batch_norm = true;
  options.weight_bits = bits;
  options.activation_bits = bits;
  return options;
}

// Sums of 9 * 512 products, beyond what f32 holds.
constexpr const char* kWide = R"(bitloom-graph 1
input = input(shape=3x4x4)
conv1.weight = parameter(shape=512x3x1x1)
conv1 = conv2d(input, conv1.weight, bias=1)
relu1 = relu(conv1)
conv2.weight = parameter(shape=16x512x3x3)
conv2 = conv2d(relu1, conv2.weight, pad=1)
relu2 = relu(conv2)
gap = global_avg_pool(relu2)
flatten = flatten(gap)
fc.weight = parameter(shape=5x16)
fc = linear(flatten, fc.weight, bias=1)
)";

// An add of two tensors of codes.
constexpr const char* kLooseAdd = R"(bitloom-graph 1
input = input(shape=3x6x6)
a.weight = parameter(shape=5x3x3x3)
a = conv2d(input, a.weight, pad=1)
a.act = relu(a)
b.weight = parameter(shape=5x5x3x3)
b = conv2d(a.act, b.weight, pad=1, bias=1)
b.act = relu6(b)
sum = add(b.act, a.act)
sum.act = relu(sum)
pool = max_pool(sum.act, kernel=2)
flatten = flatten(pool)
fc.weight = parameter(shape=4x45)
fc = linear(flatten, fc.weight, bias=1)
)";

struct FixedGraph {
  std::string name;
  std::string text;
  int bits = 8;
};
void PrintTo(const FixedGraph& graph, std::ostream* out) { *out << graph.name; }

class FixedPoint : public testing::TestWithParam<FixedGraph> {
 protected:
  FixedPoint()
      : variant_{"fixed", fixed_options(GetParam().bits), "fixed-point"},
        prepared_(GetParam().text, variant_),
        model_(prepared_.lowered(variant_)) {}

  Tensor logits(const std::string& backend, const Model& model) const {
    backends::Session session(model, {.backend = backend, .batch = kBatch});
    Tensor out(DType::kF32, Shape{kBatch, model.classes()});
    session.run(prepared_.pixels, out);
    return out;
  }

  Variant variant_;
  PreparedGraph prepared_;
  Model model_;
};

TEST_P(FixedPoint, ThePlanHoldsIntegersAlone) {
  int products = 0;
  for (const integer::Layer& layer : model_.layers) {
    EXPECT_EQ(integer::float_objection(model_, layer), "") << layer.name;
    const bool weights = layer.op == LayerOp::kConv2d || layer.op == LayerOp::kLinear;
    products += weights ? 1 : 0;
    if (weights || layer.op == LayerOp::kAdd) {
      EXPECT_EQ(layer.mode, ComputeMode::kFixedPoint) << layer.name;
      EXPECT_TRUE(layer.multiplier.empty() && layer.bias.empty()) << layer.name;
    }
  }
  EXPECT_GE(products, 3);
  for (const integer::TensorInfo& tensor : model_.tensors) {
    if (&tensor == &model_.tensors.back()) continue;
    EXPECT_NE(tensor.dtype, DType::kF32) << tensor.name;
    EXPECT_TRUE(integer::fractional_bits(tensor.scale).has_value()) << tensor.name;
  }
}

// Whoever rounds in floating point raises the flag.
TEST_P(FixedPoint, TheReferenceRoundsNoFloat) {
  const int before = threads();
  set_threads(1);
  backends::Session session(model_, {.backend = "reference", .batch = kBatch});
  Tensor out(DType::kF32, Shape{kBatch, model_.classes()});
  std::feclearexcept(FE_ALL_EXCEPT);
  session.run(prepared_.pixels, out);
  EXPECT_EQ(std::fetestexcept(FE_ALL_EXCEPT), 0);
  set_threads(before);
  volatile float third = 3.0F;
  third = 1.0F / third;
  EXPECT_NE(std::fetestexcept(FE_INEXACT), 0);  // the flag works
}

TEST_P(FixedPoint, BackendsAndFilesGiveTheSameBits) {
  const Tensor reference = logits("reference", model_);
  EXPECT_TRUE(same_bytes(reference, logits("onednn", model_)));
  const Model stored = integer::model_from_archive(integer::to_archive(model_));
  EXPECT_TRUE(same_bytes(reference, logits("onednn", stored)));
}

// The grids are those of the simulation; biases are rounded besides.
TEST_P(FixedPoint, LogitsFollowTheFloatNetwork) {
  layers::Network network(prepared_.float_graph, layers::float_layers(), prepared_.store,
                          {.batch = kBatch});
  const ConstTensorView wanted = network.forward(prepared_.images, layers::Phase::kEvaluate);
  const Tensor found = logits("reference", model_);
  double signal = 0.0;
  double noise = 0.0;
  for (std::int64_t i = 0; i < found.elements(); ++i) {
    const double real = wanted.data<float>()[i];
    signal += real * real;
    noise += (found.data<float>()[i] - real) * (found.data<float>()[i] - real);
  }
  EXPECT_GT(10.0 * std::log10(signal / noise), GetParam().bits == 8 ? 20.0 : 3.0);
}

INSTANTIATE_TEST_SUITE_P(Graphs, FixedPoint,
                         testing::Values(FixedGraph{"residual", residual_text()},
                                         FixedGraph{"residual_w5a5", residual_text(), 5},
                                         FixedGraph{"mobilenet", mobilenet_graph().text},
                                         FixedGraph{"wide", kWide},
                                         FixedGraph{"loose_add", kLooseAdd}),
                         testing::PrintToStringParamName());

TEST(FixedPointPlan, NamesWhichKernelTakesALayerOfManySums) {
  const Variant variant{"fixed", fixed_options(), "fixed-point"};
  const PreparedGraph prepared(kWide, variant);
  const Model model = prepared.lowered(variant);
  backends::Session session(model, {.backend = "onednn", .batch = kBatch});
  int shifted = 0;
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    const std::string& chosen = session.plan()[i].implementation;
    const bool own = chosen.find("bitloom") != std::string::npos;
    if (model.layers[i].mode != ComputeMode::kFixedPoint) continue;
    if (own) ++shifted;
    if (!own) {
      EXPECT_LE(integer::worst_sum(model, model.layers[i]), 1 << 24) << chosen;
    }
  }
  EXPECT_GE(shifted, 1);
}

TEST(FixedPointLowering, NamesWhatHasNoIntegerForm) {
  const auto lower_with = [](const auto& change) {
    Variant variant{"fixed", fixed_options(), "fixed-point"};
    change(variant.options);
    PreparedGraph(residual_text(), variant).lowered(variant);
  };
  EXPECT_ERROR(ConfigError, lower_with([](auto& o) { o.power_of_two = false; }), "power of two",
               "quant.power_of_two = true");
  EXPECT_ERROR(ConfigError, lower_with([](auto& o) { o.per_channel = true; }), "conv1",
               "quant.per_channel = false");
  EXPECT_ERROR(ConfigError, lower_with([](auto& o) { o.fold_batch_norm = false; }), "bn1",
               "quant.fold_batch_norm = true");
  EXPECT_ERROR(ConfigError, lower_with([](auto& o) { o.asymmetric = true; }), "no zero point",
               "quant.asymmetric = false");
}

}  // namespace
}  // namespace bitloom::deploy
