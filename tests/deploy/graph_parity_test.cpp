// Whole small graphs from float to codes: what a quantization-aware network computes is what its
// exported model computes, on every backend.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <set>

#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/deploy/lower.h"
#include "bitloom/layers/network.h"
#include "bitloom/models/networks.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "deploy/prepared_graph.h"
#include "deploy/small_graphs.h"
#include "support/isa_children.h"

namespace bitloom::deploy {
namespace {

using integer::LayerOp;
using integer::Model;
using layers::Graph;
using layers::Network;
using layers::ParameterStore;
using layers::Phase;

std::vector<Variant> variants() {
  const quant::QuantOptions plain{.method = "qat"};
  std::vector<Variant> out;
  out.push_back({"symmetric", plain});
  quant::QuantOptions options = plain;
  options.asymmetric = true;
  out.push_back({"asymmetric", options});
  options.weight_bits = 4;
  options.activation_bits = 4;
  out.push_back({"asymmetric_w4a4", options});
  out.push_back({"reduced", plain, "int8-reduced"});
  options = plain;
  options.asymmetric = true;
  options.per_channel = false;
  options.power_of_two = true;
  out.push_back({"reduced_asymmetric_per_tensor", options, "int8-reduced"});
  return out;
}

std::vector<std::string> layer_names(const Model& model) {
  std::vector<std::string> names;
  for (const integer::Layer& layer : model.layers) {
    names.push_back(std::string(to_word(layer.op)) + " " + layer.name);
  }
  return names;
}

std::int32_t code_at(ConstTensorView codes, std::int64_t i) {
  return codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[i] : codes.data<std::int8_t>()[i];
}

class GraphParity : public testing::TestWithParam<SmallGraph> {};

TEST_P(GraphParity, EveryNodeBecomesALayerOnCodes) {
  for (const Variant& variant : variants()) {
    const Model model = PreparedGraph(GetParam().text, variant).lowered(variant);
    EXPECT_EQ(layer_names(model), GetParam().layers) << variant.name;
    for (const integer::Layer& layer : model.layers) {
      const bool logits = &layer == &model.layers.back();
      const bool tail = logits && layer.op == LayerOp::kGlobalAvgPool;  // reals to reals
      EXPECT_EQ(layer.mode, tail ? integer::ComputeMode::kFloat : integer::ComputeMode::kStatic)
          << layer.name;
    }
  }
}

TEST_P(GraphParity, BackendsAgreeInEveryTensor) {
  int compared = 0;
  for (const Variant& variant : variants()) {
    if (!runs_here(variant)) continue;
    const PreparedGraph prepared(GetParam().text, variant);
    const Model model = prepared.lowered(variant);
    backends::Session reference(
        model, {.backend = "reference", .batch = kBatch, .keep_all_tensors = true});
    // Under AVX2 oneDNN declines grouped convolutions of few channels.
    const bool fallback = effective_isa() <= Isa::kAvx2;
    backends::Session onednn(model, {.backend = "onednn",
                                     .batch = kBatch,
                                     .fallback_to_reference = fallback,
                                     .keep_all_tensors = true});
    backends::Session packed(
        model, {.backend = "onednn", .batch = kBatch, .fallback_to_reference = fallback});
    Tensor a(DType::kF32, Shape{kBatch, model.classes()}), b = a.clone(), c = a.clone();
    reference.run(prepared.pixels, a);
    onednn.run(prepared.pixels, b);
    packed.run(prepared.pixels, c);
    EXPECT_TRUE(same_bytes(a, b)) << variant.name;
    EXPECT_TRUE(same_bytes(a, c)) << variant.name;
    for (int i = 0; i < static_cast<int>(model.tensors.size()); ++i) {
      EXPECT_TRUE(same_bytes(reference.tensor(i), onednn.tensor(i)))
          << variant.name << " " << model.tensors[static_cast<std::size_t>(i)].name;
      ++compared;
    }
  }
  std::cout << "compared " << compared << " tensors\n";
  EXPECT_GE(compared, 7);
}

/// Codes of the exported model that differ from those of a network in evaluation; all by one.
struct Difference {
  std::int64_t codes = 0;
  std::int64_t compared = 0;
};

/// Codes of one tensor from the network's codes or from its reals on the grid.
std::int32_t network_code(ConstTensorView tensor, std::int64_t i, const integer::TensorInfo& info) {
  if (tensor.dtype() != DType::kF32) return code_at(tensor, i);
  return static_cast<std::int32_t>(std::nearbyint(tensor.data<float>()[i] / info.scale)) +
         info.format.zero_point;
}

/// Runs the exported model on the reference and compares every tensor of codes but those in
/// `skipped`, and the logits within 3 % of the largest.
void compare(const Model& model, Network& network, const PreparedGraph& prepared,
             const std::vector<LayerOp>& skipped, Difference& difference) {
  backends::Session session(model,
                            {.backend = "reference", .batch = kBatch, .keep_all_tensors = true});
  Tensor logits(DType::kF32, Shape{kBatch, model.classes()});
  session.run(prepared.pixels, logits);
  const ConstTensorView found = network.forward(prepared.images, Phase::kEvaluate);
  for (const integer::Layer& layer : model.layers) {
    const integer::TensorInfo& info = model.tensors[static_cast<std::size_t>(layer.output)];
    const bool skip = std::find(skipped.begin(), skipped.end(), layer.op) != skipped.end();
    if (info.dtype == DType::kF32 || skip) continue;
    const ConstTensorView tensor = network.tensor(info.name);
    const ConstTensorView exported = session.tensor(layer.output);
    ASSERT_EQ(tensor.elements(), exported.elements()) << info.name;
    int inside = 0;
    for (std::int64_t k = 0; k < tensor.elements(); ++k) {
      const std::int32_t code = code_at(exported, k);
      const std::int32_t distance = std::abs(network_code(tensor, k, info) - code);
      ASSERT_LE(distance, 1) << info.name;
      difference.codes += distance;
      ++difference.compared;
      inside += code > info.format.range.qmin && code < info.format.range.qmax;
    }
    EXPECT_GT(inside, tensor.elements() / 20) << info.name << " is dead";
  }
  float largest = 0.0F;
  for (const float value : logits.span<float>()) largest = std::max(largest, std::abs(value));
  for (std::int64_t k = 0; k < logits.elements(); ++k) {
    EXPECT_NEAR(found.data<float>()[k], logits.data<float>()[k], 0.03F * largest);
  }
}

// The network's convolution, batch norm and quantizer round one after another where the exported
// model rounds m and b once: a value next to a tie may fall to the other side, at most a few in ten
// thousand, and what reads it moves by as little.
TEST_P(GraphParity, IntegerForwardComputesTheExportedCodes) {
  Difference difference;
  for (const Variant& variant : variants()) {
    if (!runs_here(variant)) continue;
    SCOPED_TRACE(variant.name);
    PreparedGraph prepared(GetParam().text, variant);
    const Model model = prepared.lowered(variant);
    Network network(quant::training_graph(prepared.graph, "integer"), quant::quantized_layers(),
                    prepared.store, {.batch = kBatch, .keep_all_tensors = true});
    EXPECT_NE(network.edge(model.tensors[1].name).dtype, DType::kF32);
    compare(model, network, prepared, {}, difference);
  }
  std::cout << difference.codes << " of " << difference.compared << " codes differ\n";
  EXPECT_GT(difference.compared, 7000);
  EXPECT_LT(static_cast<double>(difference.codes), 1e-3 * static_cast<double>(difference.compared));
}

// The classical simulation, in float, of graphs without averages in the middle: their ties (a
// quarter of all 2x2 windows) may round to the other side there.
class GraphSimulation : public testing::TestWithParam<SmallGraph> {};

TEST_P(GraphSimulation, ComputesTheExportedCodes) {
  Difference difference;
  for (const Variant& variant : variants()) {
    if (!runs_here(variant)) continue;
    SCOPED_TRACE(variant.name);
    PreparedGraph prepared(GetParam().text, variant);
    const Model model = prepared.lowered(variant);
    Network network(prepared.graph, quant::quantized_layers(), prepared.store,
                    {.batch = kBatch, .keep_all_tensors = true});
    compare(model, network, prepared, {LayerOp::kGlobalAvgPool}, difference);
  }
  std::cout << difference.codes << " of " << difference.compared << " codes differ\n";
  EXPECT_GT(difference.compared, 7000);
  EXPECT_LT(static_cast<double>(difference.codes), 1e-3 * static_cast<double>(difference.compared));
}

// A step of training runs on codes throughout, and its gradients reach every weight.
TEST_P(GraphParity, TrainingStepsReachEveryWeight) {
  for (const char* quantizer : {"lsq", "ema", "lsq+"}) {
    Variant variant{quantizer, {.method = "qat", .quantizer = quantizer}};
    PreparedGraph prepared(GetParam().text, variant);
    const Graph graph = quant::training_graph(prepared.graph, "integer");
    int products = 0;
    for (const layers::Node& node : graph.nodes()) {
      EXPECT_TRUE(node.op != "conv2d" && node.op != "linear") << node.name << " runs on reals";
      products += node.op.ends_with("conv2d") || node.op.ends_with("linear") ? 1 : 0;
    }
    EXPECT_GE(products, 5);
    Network network(graph, quant::quantized_layers(), prepared.store, {.batch = kBatch});
    const ConstTensorView logits = network.forward(prepared.images, Phase::kTrain);
    Tensor gradient(DType::kF32, logits.shape());
    for (std::int64_t i = 0; i < gradient.elements(); ++i) {
      gradient.data<float>()[i] = 0.1F * static_cast<float>(i % 5 - 2);
    }
    network.backward(gradient);
    for (const auto& [name, parameter] : prepared.store.all()) {
      if (!name.ends_with(".weight")) continue;
      double sum = 0.0;
      for (const float value : parameter.gradient.span<float>()) {
        sum += std::abs(static_cast<double>(value));
      }
      EXPECT_TRUE(std::isfinite(sum) && sum > 0.0) << name << " " << quantizer;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Graphs, GraphSimulation,
                         testing::Values(mobilenet_graph(), fire_graph(), residual_graph()),
                         [](const auto& one) { return one.param.name; });
INSTANTIATE_TEST_SUITE_P(Graphs, GraphParity, testing::ValuesIn(small_graphs()),
                         [](const auto& one) { return one.param.name; });

TEST(GraphParityCaps, HoldUnderEveryIsaCap) {
  if (std::getenv("BITLOOM_ISA") != nullptr) GTEST_SKIP() << "runs in the uncapped parent";
  for (const Isa isa : isa_caps()) {
    const ChildResult child = run_capped(isa, "*GraphParity.Backends*");
    EXPECT_EQ(child.status, 0) << to_word(isa) << "\n" << child.output;
    EXPECT_NE(child.output.find("compared "), std::string::npos);
  }
}

// Networks made for signs have chains of their own: binary_graphs_test.cpp.
bool is_made_for_signs(const std::string& name) {
  for (const char* suffix : {"_binary", "_bireal", "_react", "_xnor"}) {
    if (name.ends_with(suffix)) return true;
  }
  return false;
}

// Every product of a built-in network runs on codes in training, and every node of it fits the
// exported model's chains; without weights in memory.
TEST(GraphNetworks, QuantizeWhole) {
  int products = 0;
  int fused = 0;
  for (const std::string& name : models::network_names()) {
    if (is_made_for_signs(name)) continue;
    for (const std::int64_t side : {32, 224}) {
      const Graph plain =
          models::build_network(name, {.channels = 3, .height = side, .width = side});
      const Graph graph =
          quant::insert_fake_quant(plain, {.method = "qat"}, integer::profile_named("int8"), true);
      const Graph training = quant::training_graph(graph, "integer");
      for (const layers::Node& node : training.nodes()) {
        EXPECT_TRUE(node.op != "conv2d" && node.op != "linear") << name << " " << node.name;
        // What stands between two products is one node.
        const bool apart = node.op == "batch_norm" || node.op == "add" ||
                           node.op == "quantized_add" || quant::is_clip(node);
        for (const std::string& reader : training.readers(node.name)) {
          EXPECT_FALSE(apart && training.find(reader)->op == "fake_quant")
              << name << " " << node.name;
        }
        fused += node.op == "fused_quant" ? 1 : 0;
        products += node.op.ends_with("conv2d") ? 1 : 0;
      }
      std::set<std::string> inside;
      for (const quant::Chain& chain : quant::chains_of(graph)) {
        for (const layers::Node* node : chain.nodes) inside.insert(node->name);
      }
      for (const layers::Node& node : graph.nodes()) {
        const bool computes = node.op == "batch_norm" || node.op == "add" || quant::is_clip(node);
        EXPECT_TRUE(!computes || inside.contains(node.name)) << name << " " << node.name;
      }
    }
  }
  EXPECT_GT(products, 400);
  EXPECT_GT(fused, 350);
}

// Squeezenet joins, drops and averages last; mobilenet_v2 has bottlenecks and depthwise layers.
TEST(GraphNetworks, LowerAtCifarSize) {
  for (const char* name : {"squeezenet1_1", "mobilenet_v2"}) {
    const Graph plain = models::build_network(name, {.channels = 3, .height = 32, .width = 32});
    const Graph graph =
        quant::insert_fake_quant(plain, {.method = "qat"}, integer::profile_named("int8"), true);
    ParameterStore store{1};
    const Network declared(graph, quant::quantized_layers(), store,
                           {.batch = 1, .training = false});
    Tensor table(DType::kF32, Shape{3, 256});
    const Model model =
        lower(graph, store,
              {.network = name, .method = "qat", .profile = "int8", .normalization = table});
    EXPECT_EQ(model.tensors.back().shape, (Shape{1, 10}));
    int reals = 0;
    for (const integer::Layer& layer : model.layers) {
      reals += layer.mode != integer::ComputeMode::kStatic;
    }
    EXPECT_EQ(reals, std::string(name) == "squeezenet1_1" ? 1 : 0) << name;  // its last average
  }
}

// The zero point takes the place of the ReLU's 0: reals below it have its code.
TEST(GraphZeroPoint, AReluMayEndOnAnAsymmetricGrid) {
  const Variant variant{"", {.method = "qat"}};
  PreparedGraph prepared(residual_graph().text, variant);
  layers::Node& grid = *prepared.graph.find("c1.act.q");
  grid.set("zero_point", "40");
  const Model model = prepared.lowered(variant);
  const integer::TensorInfo& tensor = model.tensors[1];
  ASSERT_EQ(tensor.name, "c1.act.q");
  EXPECT_EQ(integer::code_range(model.layers[0], tensor), (integer::CodeRange{40, 255}));
  backends::Session session(model,
                            {.backend = "reference", .batch = kBatch, .keep_all_tensors = true});
  Tensor logits(DType::kF32, Shape{kBatch, model.classes()});
  session.run(prepared.pixels, logits);
  std::int32_t least = 255;
  int zeros = 0;
  for (const std::uint8_t code : session.tensor(1).span<std::uint8_t>()) {
    least = std::min<std::int32_t>(least, code);
    zeros += code == 40;
  }
  EXPECT_EQ(least, 40);
  EXPECT_GT(zeros, 100);
}

TEST(GraphConcat, RefusesTwoGrids) {
  const Variant variant{"", {.method = "qat"}};
  PreparedGraph prepared(fire_graph().text, variant);
  layers::Graph apart;
  for (const layers::Node& node : prepared.graph.nodes()) {
    layers::Node copy = node;
    if (node.name == "e3.act.q")
      std::erase_if(copy.attributes, [](const auto& attribute) {
        return attribute.first == "share" || attribute.first == "joined";
      });
    apart.add(std::move(copy));
  }
  prepared.graph = apart;
  const Network declared(apart, quant::quantized_layers(), prepared.store, {.batch = kBatch});
  try {
    prepared.lowered(variant);
    FAIL() << "two grids were joined";
  } catch (const ConfigError& error) {
    EXPECT_NE(std::string(error.what()).find("share=NODE"), std::string::npos) << error.what();
  }
  // In training the same graph stays real around the concat, instead of mixing two grids.
  const Graph training = quant::use_integer_forward(apart);
  EXPECT_EQ(training.find("last")->op, "conv2d");
  EXPECT_EQ(training.find("e3")->op, "quantized_conv2d");
}

}  // namespace
}  // namespace bitloom::deploy
