#include "bitloom/integer/fixed_point.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "bitloom/integer/model_archive.h"
#include "bitloom/integer/reference.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::integer {
namespace {

TEST(FixedPointShift, RoundsHalfToEven) {
  EXPECT_EQ(shift_half_even(5, 1), 2);  // 2.5
  EXPECT_EQ(shift_half_even(7, 1), 4);  // 3.5
  EXPECT_EQ(shift_half_even(-5, 1), -2);
  EXPECT_EQ(shift_half_even(-7, 1), -4);
  EXPECT_EQ(shift_half_even(6, 2), 2);    // 1.5
  EXPECT_EQ(shift_half_even(-6, 2), -2);  // -1.5
  EXPECT_EQ(shift_half_even(-2, 2), 0);   // -0.5
  EXPECT_EQ(shift_half_even(9, 0), 9);
  EXPECT_EQ(shift_half_even(-3, -4), -48);
}

TEST(FixedPointShift, IsTheFloatFormulaWhereFloatIsExact) {
  for (std::int64_t value = -1100; value <= 1100; ++value) {
    for (int shift = -3; shift <= 12; ++shift) {
      const double real = std::ldexp(static_cast<double>(value), -shift);
      EXPECT_EQ(shift_half_even(value, shift), std::llrint(real)) << value << " " << shift;
    }
  }
  const std::int64_t most = (std::int64_t{1} << 31) - 1;
  EXPECT_EQ(shift_half_even(most, 31), 1);
  EXPECT_EQ(shift_half_even(-most, 31), -1);
}

TEST(FixedPointShift, KnowsPowersOfTwo) {
  EXPECT_EQ(fractional_bits(1.0F), 0);
  EXPECT_EQ(fractional_bits(0.125F), 3);
  EXPECT_EQ(fractional_bits(4.0F), -2);
  for (const float other : {0.0F, -0.5F, 0.3F, std::nanf(""), INFINITY, 1e-45F}) {
    EXPECT_EQ(fractional_bits(other), std::nullopt) << other;
  }
}

// x [3] on 2^-4, w [2, 3] on 2^-3, r [2] on 2^-2, y [2] on 2^-2: sums on 2^-7, shift 5; r << 5.
Model hand_model(bool with_residual) {
  const AffineFormat u8{.range = {0, 255}};
  Model model;
  model.network = "hand";
  model.method = "ptq-static";
  model.profile = "fixed-point";
  model.tensors = {{"x", Shape{1, 3}, DType::kU8, u8, 0.0625F},
                   {"y", Shape{1, 2}, DType::kU8, u8, 0.25F},
                   {"z", Shape{1, 2}, DType::kU8, u8, 0.25F},
                   {"logits", Shape{1, 2}, DType::kF32}};
  model.input_table = Tensor(DType::kU8, Shape{3, 256});
  for (std::int64_t i = 0; i < 768; ++i) {
    model.input_table.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i % 256);
  }
  const auto layer = [](const char* name, Shape shape, std::vector<std::int8_t> codes,
                        std::vector<std::int32_t> bias) {
    Layer made;
    made.name = name;
    made.op = LayerOp::kLinear;
    made.mode = ComputeMode::kFixedPoint;
    made.weight = make_tensor<std::int8_t>(shape, codes);
    made.weight_bits = 8;
    made.weight_range = {-127, 127};
    made.weight_scale = make_tensor<float>(Shape{2}, std::vector<float>{0.125F, 0.125F});
    made.bias_s32 = make_tensor<std::int32_t>(Shape{2}, bias);
    made.clip_codes = {0, 255};
    return made;
  };
  Layer first = layer("first", Shape{2, 3}, {1, 2, 3, -4, 5, -6}, {10, 100});
  first.inputs = {0};
  first.output = 1;
  first.right_shift = 5;
  Layer second = layer("second", Shape{2, 2}, {16, 0, 1, 100}, {0, -8});
  second.inputs = {1};
  second.output = 2;
  second.right_shift = 3;  // 2^-5 to 2^-2
  if (with_residual) second.inputs.push_back(1);
  second.residual_shift = with_residual ? 3 : 0;
  Layer last = layer("last", Shape{2, 2}, {1, 1, 2, -3}, {1, -2});
  last.inputs = {2};
  last.output = 3;
  for (Layer* made : {&first, &second, &last}) model.layers.push_back(std::move(*made));
  return model;
}

std::vector<float> logits_of(const Model& model, std::vector<std::uint8_t> pixels) {
  const Tensor x = make_tensor<std::uint8_t>(Shape{1, 3}, pixels);
  std::vector<Tensor> tensors;
  for (const TensorInfo& info : model.tensors) tensors.emplace_back(info.dtype, info.shape);
  encode_input(x, model.input_table, tensors[0]);
  for (const Layer& layer : model.layers) {
    std::vector<ConstTensorView> inputs;
    for (const int input : layer.inputs) {
      inputs.emplace_back(tensors[static_cast<std::size_t>(input)]);
    }
    Tensor scratch(DType::kU8,
                   Shape{static_cast<std::int64_t>(scratch_bytes(model, layer, 1)) + 64});
    run_layer(model, layer, inputs, tensors[static_cast<std::size_t>(layer.output)],
              {static_cast<std::byte*>(scratch.raw()), scratch.bytes()});
  }
  const auto values = tensors.back().span<float>();
  return {values.begin(), values.end()};
}

// x = 100, 50, 20: sums 260 + 10 and -270 + 100; y = round(270 / 32 = 8.44) = 8 and 0 by the clip.
// z = 16 * 8 >> 3 = 16 and 0: (8 - 8) >> 3; with r: 16 + 8 = 24 and 0.
// logits 16 + 1 and 32 - 2, with r 24 + 1 and 48 - 2, on 2^-5.
TEST(FixedPointLayer, MatchesSumsByHand) {
  const Model plain = hand_model(false);
  validate(plain);
  EXPECT_EQ(logits_of(plain, {100, 50, 20}), (std::vector<float>{17.0F / 32, 30.0F / 32}));
  const Model residual = hand_model(true);
  validate(residual);
  EXPECT_EQ(logits_of(residual, {100, 50, 20}), (std::vector<float>{25.0F / 32, 46.0F / 32}));
  EXPECT_EQ(worst_sum(plain, plain.layers[0]), 15 * 255 + 100);
  EXPECT_EQ(worst_sum(residual, residual.layers[1]), 101 * 255 + 8 + 8 * 255);
}

TEST(FixedPointLayer, GoesThroughAFile) {
  const Model model = hand_model(true);
  const Model back = model_from_archive(to_archive(model));
  EXPECT_EQ(logits_of(back, {3, 200, 77}), logits_of(model, {3, 200, 77}));
}

TEST(FixedPointLayer, BrokenPromisesAreNamed) {
  const auto broken = [](const auto& change) {
    Model model = hand_model(true);
    change(model);
    validate(model);
  };
  EXPECT_ERROR(FormatError, broken([](Model& m) { m.layers[1].right_shift = 4; }), "second",
               "the shifts that its scales give: 0, 3, 3");
  EXPECT_ERROR(FormatError, broken([](Model& m) { m.tensors[1].scale = 0.3F; }), "first",
               "a power of two as scale of y");
  EXPECT_ERROR(FormatError, broken([](Model& m) { m.tensors[1].format.zero_point = 3; }), "first",
               "without zero point");
  EXPECT_ERROR(FormatError, broken([](Model& m) { m.layers[0].bias_s32 = Tensor(); }), "first",
               "bias s32 [2]");
  EXPECT_ERROR(FormatError,
               broken([](Model& m) { m.layers[0].bias_s32.data<std::int32_t>()[1] = INT32_MAX; }),
               "first", "sums that fit 32 bits");
  EXPECT_ERROR(FormatError, broken([](Model& m) {
                 m.layers[1].clip_codes = {0, 9};
               }),
               "second", "the codes that its clip leaves");
  EXPECT_ERROR(FormatError,
               broken([](Model& m) { m.layers[2].weight_scale.data<float>()[1] = 0.25F; }), "last",
               "one power of two");
}

TEST(FixedPointSteps, AlignToTheFinest) {
  Layer layer;
  set_shifts({.product = 7, .residual = 9, .output = 3}, layer);
  EXPECT_EQ(layer.source_shift, 2);
  EXPECT_EQ(layer.residual_shift, 0);
  EXPECT_EQ(layer.right_shift, 6);
  set_shifts({.product = 2, .output = 5}, layer);
  EXPECT_EQ(layer.right_shift, -3);
  layer.name = "far";
  EXPECT_ERROR(ConfigError, set_shifts({.product = 60, .output = 3}, layer), "far");
}

}  // namespace
}  // namespace bitloom::integer
