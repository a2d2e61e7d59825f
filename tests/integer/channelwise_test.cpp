// The reference's affine, prelu, k_map, scale_map, signs and layers with two scales, by hand.
#include <gtest/gtest.h>

#include <cmath>
#include <vector>

#include "backends/binary_models.h"
#include "bitloom/integer/reference.h"

namespace bitloom::integer {
namespace {

Tensor reals(const Shape& shape, const std::vector<float>& values) {
  return make_tensor<float>(shape, values);
}

Tensor run_one(const Layer& layer, const TensorInfo& source, const TensorInfo& output,
               const std::vector<ConstTensorView>& inputs) {
  Model model;
  model.tensors = {source, output};
  Tensor out(output.dtype, output.shape);
  run_layer(model, layer, inputs, out);
  return out;
}

template <typename T>
std::vector<T> list(const Tensor& tensor) {
  const auto values = tensor.span<T>();
  return {values.begin(), values.end()};
}

// t = 2x - 1 and -x + 0: signs of 0 are +1, a falling slope turns the order round.
TEST(Channelwise, AffineTakesSignsOfEachChannel) {
  Layer layer;
  layer.op = LayerOp::kAffine;
  layer.inputs = {0};
  layer.output = 1;
  layer.multiplier = reals({2}, {2.0F, -1.0F});
  layer.bias = reals({2}, {-1.0F, 0.0F});
  const TensorInfo x{.name = "x", .shape = {1, 2, 2, 1}};
  const TensorInfo signs{
      .name = "y", .shape = x.shape, .dtype = DType::kS8, .format = kBinaryFormat};
  const Tensor source = reals(x.shape, {0.5F, 0.0F, 0.25F, 0.25F});
  EXPECT_EQ(list<std::int8_t>(run_one(layer, x, signs, {source})),
            (std::vector<std::int8_t>{1, 1, -1, -1}));
  const TensorInfo y{.name = "y", .shape = x.shape};
  layer.clip = kRelu;
  EXPECT_EQ(list<float>(run_one(layer, x, y, {source})),
            (std::vector<float>{0.0F, 0.0F, 0.0F, 0.0F}));
  // Codes: (x - z) is what the slope multiplies.
  const TensorInfo codes{
      .name = "x", .shape = x.shape, .dtype = DType::kU8, .format = u8_format(8, 3), .scale = 0.1F};
  const std::vector<std::uint8_t> values{4, 3, 3, 9};
  layer.clip = {};
  const Tensor u8 = make_tensor<std::uint8_t>(x.shape, values);
  EXPECT_EQ(list<float>(run_one(layer, codes, y, {u8})),
            (std::vector<float>{1.0F, 0.0F, -1.0F, -6.0F}));
}

TEST(Channelwise, PreluShiftsInFrontAndBehind) {
  Layer layer;
  layer.op = LayerOp::kPrelu;
  layer.multiplier = reals({2}, {0.5F, -1.0F});
  const TensorInfo x{.name = "x", .shape = {2, 2}};
  const Tensor source = reals(x.shape, {-2.0F, -2.0F, 3.0F, 3.0F});
  EXPECT_EQ(list<float>(run_one(layer, x, x, {source})),
            (std::vector<float>{-1.0F, 2.0F, 3.0F, 3.0F}));
  layer.shift = reals({2}, {4.0F, 1.0F});
  layer.bias = reals({2}, {10.0F, 20.0F});
  EXPECT_EQ(list<float>(run_one(layer, x, x, {source})),
            (std::vector<float>{7.0F, 23.0F, 9.5F, 22.0F}));
}

// 18 channels: more than one vector of sums. Means are 1, 2, 3, 4; 3x3, pad 1: everything is
// inside.
TEST(Channelwise, KMapAveragesMagnitudesOverTheWindowWithPaddingAsZero) {
  Layer layer;
  layer.op = LayerOp::kKMap;
  layer.window = window(3, 1, 1);
  Tensor source(DType::kF32, Shape{1, 18, 2, 2});
  for (std::int64_t i = 0; i < source.elements(); ++i) {
    source.data<float>()[i] = (i % 2 == 0 ? 1.0F : -1.0F) * static_cast<float>(i / 18 + 1);
  }
  const TensorInfo x{.name = "x", .shape = source.shape()};
  const TensorInfo k{.name = "k", .shape = {1, 1, 2, 2}};
  EXPECT_EQ(list<float>(run_one(layer, x, k, {source})), std::vector<float>(4, 10.0F / 9.0F));
  layer.window = window(1, 1, 0);
  const Tensor map = run_one(layer, x, k, {source});
  EXPECT_EQ(list<float>(map), (std::vector<float>{1.0F, 2.0F, 3.0F, 4.0F}));
  layer.op = LayerOp::kScaleMap;
  const Tensor scaled = run_one(layer, x, x, {source, map});
  EXPECT_EQ(scaled.data<float>()[0], 1.0F);
  EXPECT_EQ(scaled.data<float>()[18 * 3 + 1], -16.0F);
}

// acc_p = 5 + 7, acc_n = 3: t = 12 * 0.5 - 3 * 2 + 1 = 1, and 12 * -1 - 3 * -1 + 0 = -9.
TEST(Channelwise, TwoScalesKeepTheSumsOfPositiveAndNegativeWeightsApart) {
  Layer layer;
  layer.op = LayerOp::kLinear;
  layer.mode = ComputeMode::kStatic;
  layer.inputs = {0};
  layer.output = 1;
  layer.weight =
      make_tensor<std::int8_t>(Shape{2, 4}, std::vector<std::int8_t>{1, -1, 1, 0, 1, -1, 1, 0});
  layer.weight_grid = Grid::kTernary;
  layer.weight_bits = 2;
  layer.multiplier = reals({2}, {0.5F, -1.0F});
  layer.negative_multiplier = reals({2}, {2.0F, -1.0F});
  layer.bias = reals({2}, {1.0F, 0.0F});
  const TensorInfo x{
      .name = "x", .shape = {1, 4}, .dtype = DType::kU8, .format = u8_format(), .scale = 1.0F};
  const TensorInfo y{.name = "y", .shape = {1, 2}};
  const Tensor source = make_tensor<std::uint8_t>(x.shape, std::vector<std::uint8_t>{5, 3, 7, 9});
  EXPECT_EQ(list<float>(run_one(layer, x, y, {source})), (std::vector<float>{1.0F, -9.0F}));
  EXPECT_EQ(real_weight(layer, 0, 1), 0.5F);
  EXPECT_EQ(real_weight(layer, 0, -1), -2.0F);
  EXPECT_EQ(real_weight(layer, 0, 0), 0.0F);
}

TEST(Channelwise, MaxPoolTakesTheLowestWhereABatchNormFalls) {
  Layer layer;
  layer.op = LayerOp::kMaxPool;
  layer.window = window(2, 2, 0);
  const std::vector<std::uint8_t> falls{0, 1};
  layer.lowest = make_tensor<std::uint8_t>(Shape{2}, falls);
  const TensorInfo x{
      .name = "x", .shape = {1, 2, 2, 2}, .dtype = DType::kS8, .format = kBinaryFormat};
  const TensorInfo y{
      .name = "y", .shape = {1, 2, 1, 1}, .dtype = DType::kS8, .format = kBinaryFormat};
  const std::vector<std::int8_t> codes{-1, 1, 1, 1, -1, -1, -1, 1};
  const Tensor source = make_tensor<std::int8_t>(x.shape, codes);
  EXPECT_EQ(list<std::int8_t>(run_one(layer, x, y, {source})), (std::vector<std::int8_t>{1, -1}));
}

}  // namespace
}  // namespace bitloom::integer
