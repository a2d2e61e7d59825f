// Layers that pass codes on: a layer of this test puts codes on an edge, as quant's will.
#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::layers {
namespace {

// y = round(x / 0.5) as u8 codes, ReLU included; the gradient passes where the code is above 0.
class ToCodes final : public Layer {
 public:
  explicit ToCodes(const LayerContext& context) {
    edge_.shape = context.inputs[0].shape;
    edge_.dtype = DType::kU8;
    edge_.scale = &scale_;
    edge_.scale_count = 1;
  }
  const Edge& output() const override { return edge_; }
  LayerMemory memory() const override { return {.backward_reads_output = true}; }
  void forward(const ForwardCall& call) override {
    const integer::AffineFormat format;
    for (std::int64_t i = 0; i < call.output.elements(); ++i) {
      call.output.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(
          integer::quantize(call.inputs[0].data<float>()[i], 1.0F / scale_, format));
    }
  }
  void backward(const BackwardCall& call) override {
    for (std::int64_t i = 0; i < call.output.elements(); ++i) {
      call.input_gradients[0].data<float>()[i] =
          call.output.data<std::uint8_t>()[i] > 0 ? call.output_gradient.data<float>()[i] : 0.0F;
    }
  }

 private:
  float scale_ = 0.5F;
  Edge edge_;
};

// Codes back to reals, so that a loss can follow.
class ToReals final : public Layer {
 public:
  explicit ToReals(const LayerContext& context) : scale_(context.inputs[0].scale) {
    edge_.shape = context.inputs[0].shape;
  }
  const Edge& output() const override { return edge_; }
  void forward(const ForwardCall& call) override {
    for (std::int64_t i = 0; i < call.output.elements(); ++i) {
      call.output.data<float>()[i] =
          integer::dequantize(call.inputs[0].data<std::uint8_t>()[i], *scale_, 0);
    }
  }
  void backward(const BackwardCall& call) override {
    copy(call.output_gradient, call.input_gradients[0]);
  }

 private:
  const float* scale_;
  Edge edge_;
};

LayerRegistry with_codes() {
  LayerRegistry registry = float_layers();
  registry["to_codes"] = {
      [](const LayerContext& c) { return std::make_unique<ToCodes>(c); }, 1, {}};
  registry["to_reals"] = {
      [](const LayerContext& c) { return std::make_unique<ToReals>(c); }, 1, {}};
  return registry;
}

Graph graph_of(const std::string& nodes) {
  return Graph::parse("bitloom-graph 1\n" + nodes, "test");
}

// Channel 0 of the 2x2 image holds codes 2, 6, 4, 0; channel 1 holds 1, 1, 0, 1 (a tie).
TEST(CodeEdges, PoolingAndFlattenPassCodesAndGradients) {
  ParameterStore store(1);
  const Graph graph = graph_of(R"(input = input(shape=1)
    x = parameter(shape=1x2x2x2)
    q = to_codes(x)
    p = max_pool(q, kernel=2)
    f = flatten(p)
    y = to_reals(f))");
  Network network(graph, with_codes(), store, {.batch = 1});
  copy(from_nchw<float>({1, 2, 2, 2}, {1, 3, 2, -1, 0.5F, 0.5F, 0, 0.5F}), store.at("x").value);
  EXPECT_EQ(network.edge("p").dtype, DType::kU8);
  EXPECT_EQ(network.edge("f").scale, network.edge("q").scale);
  EXPECT_EQ(network.edge("f").scale_count, 1);
  const Tensor images(DType::kF32, {1, 1});
  EXPECT_THAT(network.forward(images, Phase::kTrain), TensorEq(row({3, 0.5F})));
  network.backward(row({10, 20}));
  EXPECT_THAT(store.at("x").gradient,
              TensorEq(from_nchw<float>({1, 2, 2, 2}, {0, 10, 0, 0, 20, 0, 0, 0})));
}

TEST(CodeEdges, GlobalAveragePassesCodes) {
  ParameterStore store(1);
  const Graph graph = graph_of(R"(input = input(shape=1)
    x = parameter(shape=1x1x2x2)
    q = to_codes(x)
    p = global_avg_pool(q)
    y = to_reals(p))");
  Network network(graph, with_codes(), store, {.batch = 1});
  // codes 2, 6, 4, 0 sum to 12, so 3: real 1.5; the gradient's quarter stops at code 0
  copy(from_nchw<float>({1, 1, 2, 2}, {1, 3, 2, -1}), store.at("x").value);
  const Tensor images(DType::kF32, {1, 1});
  EXPECT_EQ(network.forward(images, Phase::kTrain).data<float>()[0], 1.5F);
  network.backward(from_nchw<float>({1, 1, 1, 1}, {8}));
  EXPECT_THAT(store.at("x").gradient, TensorEq(from_nchw<float>({1, 1, 2, 2}, {2, 2, 2, 0})));
}

TEST(CodeEdges, AveragePassesCodesAndRoundsOnce) {
  ParameterStore store(1);
  const Graph graph = graph_of(R"(input = input(shape=1)
    x = parameter(shape=1x1x4x2)
    q = to_codes(x)
    p = avg_pool(q, kernel=2)
    y = to_reals(p))");
  Network network(graph, with_codes(), store, {.batch = 1});
  // codes 2, 6, 1, 1 sum to 10: 2.5 rounds to 2; codes 3, 4, 4, 3 sum to 14: 3.5 rounds to 4
  copy(from_nchw<float>({1, 1, 4, 2}, {1, 3, 0.5F, 0.5F, 1.5F, 2, 2, 1.5F}), store.at("x").value);
  EXPECT_EQ(network.edge("p").dtype, DType::kU8);
  EXPECT_EQ(network.edge("p").scale, network.edge("q").scale);
  const Tensor images(DType::kF32, {1, 1});
  EXPECT_THAT(network.forward(images, Phase::kTrain),
              TensorEq(from_nchw<float>({1, 1, 2, 1}, {1, 2})));
  network.backward(from_nchw<float>({1, 1, 2, 1}, {8, 4}));
  EXPECT_THAT(store.at("x").gradient,
              TensorEq(from_nchw<float>({1, 1, 4, 2}, {2, 2, 2, 2, 1, 1, 1, 1})));
}

TEST(CodeEdges, ConcatCopiesCodesOfOneGrid) {
  ParameterStore store(1);
  const Graph graph = graph_of(R"(input = input(shape=1)
    x = parameter(shape=1x2x1x2)
    q = to_codes(x)
    p = max_pool(q, kernel=1)
    j = concat(q, p, q)
    y = to_reals(j))");
  Network network(graph, with_codes(), store, {.batch = 1});
  copy(from_nchw<float>({1, 2, 1, 2}, {1, 3, 2, -1}), store.at("x").value);
  EXPECT_EQ(network.edge("j").dtype, DType::kU8);
  EXPECT_EQ(network.edge("j").scale, network.edge("q").scale);
  const Tensor images(DType::kF32, {1, 1});
  EXPECT_THAT(network.forward(images, Phase::kTrain),
              TensorEq(from_nchw<float>({1, 6, 1, 2}, {1, 3, 2, 0, 1, 3, 2, 0, 1, 3, 2, 0})));
  network.backward(
      from_nchw<float>({1, 6, 1, 2}, {1, 2, 3, 4, 10, 20, 30, 40, 100, 200, 300, 400}));
  EXPECT_THAT(store.at("x").gradient, TensorEq(from_nchw<float>({1, 2, 1, 2}, {111, 222, 333, 0})));
}

TEST(CodeEdges, ConcatDeclinesCodesOfTwoGrids) {
  ParameterStore store(1);
  const std::string head = "x = input(shape=1x2x2)\nq = to_codes(x)\n";
  EXPECT_ERROR(ShapeError,
               Network(graph_of(head + "r = to_codes(x)\ny = concat(q, r)"), with_codes(), store,
                       {.batch = 1}),
               "y: expected codes of one grid, r like q, found a grid of its own; let the");
  EXPECT_ERROR(ShapeError,
               Network(graph_of(head + "y = concat(q, x)"), with_codes(), store, {.batch = 1}),
               "y: expected inputs that differ in channels alone, x like q u8 [1, 1, 2, 2]");
}

// Codes stay on their grid; what they stand for doubles with the scale.
TEST(CodeEdges, DropoutKeepsCodesAndScalesTheEdge) {
  ParameterStore store(1);
  const Graph graph = graph_of(R"(input = input(shape=1)
    x = parameter(shape=1x64x2x2)
    q = to_codes(x)
    d = dropout(q)
    y = to_reals(d))");
  Network network(graph, with_codes(), store, {.batch = 1});
  Tensor x(DType::kF32, {1, 64, 2, 2});
  for (float& value : x.span<float>()) value = 1.5F;
  copy(x, store.at("x").value);
  const Tensor images(DType::kF32, {1, 1});
  EXPECT_THAT(network.forward(images, Phase::kEvaluate), TensorEq(x));
  EXPECT_EQ(store.at("d.step").value.data<float>()[0], 0.0F);

  const ConstTensorView output = network.forward(images, Phase::kTrain);
  Tensor wanted = like(x);
  int kept = 0;
  for (std::int64_t i = 0; i < output.elements(); ++i) {
    const bool is_kept = output.data<float>()[i] != 0.0F;
    ASSERT_EQ(output.data<float>()[i], is_kept ? 3.0F : 0.0F) << i;
    wanted.data<float>()[i] = is_kept ? 2.0F : 0.0F;
    kept += is_kept ? 1 : 0;
  }
  EXPECT_GT(kept, 80);
  EXPECT_LT(kept, 176);
  EXPECT_EQ(store.at("d.step").value.data<float>()[0], 1.0F);
  for (float& value : x.span<float>()) value = 1.0F;
  network.backward(x);
  EXPECT_THAT(store.at("x").gradient, TensorEq(wanted));
  EXPECT_THAT(network.forward(images, Phase::kEvaluate), TensorEq(store.at("x").value));
}

TEST(CodeEdges, FloatLayersDeclineCodes) {
  ParameterStore store(1);
  const std::string head = "x = input(shape=1x2x2)\nq = to_codes(x)\n";
  for (const char* tail :
       {"y = relu(q)", "y = relu6(q)", "y = hardtanh(q)", "y = batch_norm(q)", "y = add(q, q)"}) {
    EXPECT_ERROR(ShapeError, Network(graph_of(head + tail), with_codes(), store, {.batch = 2}),
                 "y: expected reals (f32) from q, found codes (u8)");
  }
  EXPECT_ERROR(ConfigError,
               Network(graph_of("x = input(shape=1x20x20)\nq = to_codes(x)\n"
                                "y = max_pool(q, kernel=17)"),
                       with_codes(), store, {.batch = 1}),
               "y: expected a window of at most 256 positions over codes, found 17x17");
}

}  // namespace
}  // namespace bitloom::layers
