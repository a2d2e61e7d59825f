// Layers that quantize their source while they run, against loops that read like the formula.
#include "bitloom/integer/dynamic.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "bitloom/core/parallel.h"
#include "bitloom/integer/profile.h"
#include "bitloom/integer/reference.h"
#include "bitloom/integer/requantize.h"
#include "integer/random_layer.h"
#include "support/error_matchers.h"

namespace bitloom::integer {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr float kInfinity = std::numeric_limits<float>::infinity();

AffineFormat zero_point_format() { return profile_named("int8-reduced").activations(8, true); }

std::int32_t code_at(ConstTensorView codes, std::int64_t i) {
  return codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[i] : codes.data<std::int8_t>()[i];
}

/// The layer of a case as a dynamic one; tensors are real, multipliers of an honest size.
RandomLayer dynamic_layer(const LayerCase& problem, std::uint64_t seed) {
  RandomLayer made = random_layer(problem, seed);
  Layer& layer = made.model.layers.front();
  layer.mode = ComputeMode::kDynamic;
  layer.source_format = problem.source_format;
  for (TensorInfo& info : made.model.tensors) info.dtype = DType::kF32;
  const RandomStream random(seed, "reals");
  made.source = Tensor(DType::kF32, problem.source);
  const bool carries_sign = problem.source_format.range.qmin < problem.source_format.zero_point;
  for (std::int64_t i = 0; i < made.source.elements(); ++i) {
    // Each image is ten times the one before it.
    const auto image = i / (problem.source.elements() / problem.source.n());
    const float size = 0.1F * std::pow(10.0F, static_cast<float>(image));
    const float real = size * random.normal(static_cast<std::uint64_t>(i));
    made.source.data<float>()[i] = carries_sign ? real : std::fmax(real, 0.0F);
  }
  if (problem.residual) {
    made.residual = Tensor(DType::kF32, output_shape(problem));
    for (std::int64_t i = 0; i < made.residual.elements(); ++i) {
      made.residual.data<float>()[i] = random.normal(static_cast<std::uint64_t>(1000000 + i));
    }
  }
  return made;
}

std::vector<LayerCase> cases() {
  std::vector<LayerCase> all;
  const auto add = [&](const char* name, const Shape& source, std::int64_t outputs,
                       const Window& window) {
    LayerCase made{.name = name, .source = source, .outputs = outputs, .window = window};
    made.source_format = u8_format();
    made.destination = DType::kF32;
    all.push_back(made);
  };
  add("3x3", {3, 8, 7, 6}, 12, {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1});
  add("1x1 stride 2, odd channels", {2, 33, 5, 5}, 5, {.stride = 2});
  add("depthwise", {2, 19, 6, 5}, 19,
      {.kernel_h = 3, .kernel_w = 3, .stride = 1, .pad = 1, .groups = 19});
  all.back().clip = {.low = 0.0F, .high = 0.3F};  // a ReLU6 whose upper bound bites here
  add("linear over maps", {3, 7, 3, 2}, 11, {});
  all.back().linear = true;
  const std::size_t count = all.size();
  for (std::size_t i = 0; i < count; ++i) {
    LayerCase other = all[i];
    other.name += ", signed, residual";
    other.source_format = s8_format();
    other.residual = s8_format();
    all.push_back(other);
    other.name = all[i].name + ", zero point, no ReLU";
    other.source_format = zero_point_format();
    other.clip = {};
    all.push_back(other);
  }
  return all;
}

float naive_scale(const Tensor& source, std::int64_t image, const AffineFormat& format) {
  const std::int64_t size = source.elements() / source.shape().n();
  float largest = 0.0F;
  for (std::int64_t i = image * size; i < (image + 1) * size; ++i) {
    largest = std::fmax(largest, std::fabs(source.data<float>()[i]));
  }
  return largest / static_cast<float>(format.range.qmax - format.zero_point);
}

TEST(DynamicScale, DividesTheLargestMagnitudeByTheLargestCode) {
  EXPECT_EQ(dynamic_scale(2.0F, u8_format()), 2.0F / 255.0F);
  EXPECT_EQ(dynamic_scale(2.0F, s8_format()), 2.0F / 127.0F);
  EXPECT_EQ(dynamic_scale(2.0F, zero_point_format()), 2.0F / 127.0F);
}

TEST(DynamicScale, IsOneWhereItsReciprocalWouldNotBeFinite) {
  const float smallest = std::numeric_limits<float>::min();
  EXPECT_EQ(dynamic_scale(0.0F, u8_format()), 1.0F);
  EXPECT_EQ(dynamic_scale(std::numeric_limits<float>::denorm_min(), u8_format()), 1.0F);
  EXPECT_EQ(dynamic_scale(254.0F * smallest, u8_format()), 1.0F);
  EXPECT_EQ(dynamic_scale(255.0F * smallest, u8_format()), smallest);
  EXPECT_TRUE(std::isfinite(1.0F / smallest));
}

// Image 0: largest 2.54, s_x = 0.02. Image 1: zeros, s_x = 1. Image 2: s_x = 1 exactly, ties to
// even: 0.5 > 0, 1.5 > 2, -2.5 > -2. The weights are (1, -2), m = 0.5, b = 0.25.
TEST(Dynamic, HandWorkedImagesHaveScalesOfTheirOwn) {
  Model model;
  model.tensors = {{.name = "x", .shape = {1, 3}}, {.name = "y", .shape = {1, 1}}};
  const std::vector<std::int8_t> codes = {1, -2, 3};
  const std::vector<float> half = {0.5F};
  const std::vector<float> quarter = {0.25F};
  model.layers.push_back({.name = "fc",
                          .op = LayerOp::kLinear,
                          .mode = ComputeMode::kDynamic,
                          .inputs = {0},
                          .output = 1,
                          .weight = make_tensor<std::int8_t>(Shape{1, 3}, codes),
                          .weight_bits = 8,
                          .weight_range = {-127, 127},
                          .multiplier = make_tensor<float>(Shape{1}, half),
                          .bias = make_tensor<float>(Shape{1}, quarter),
                          .source_format = s8_format()});
  const std::vector<float> x = {2.54F, -1.27F, 0.0F, 0, -0.0F, 0, 127.0F, 1.5F, -2.5F};
  const Tensor source = make_tensor<float>(Shape{3, 3}, x);
  Tensor acc(DType::kS32, Shape{3, 1});
  accumulate(model, model.layers[0], source, acc);
  EXPECT_EQ(acc.data<std::int32_t>()[0], 127 + 2 * 64);  // -1.27 / 0.02 = -63.5, to even
  EXPECT_EQ(acc.data<std::int32_t>()[1], 0);
  EXPECT_EQ(acc.data<std::int32_t>()[2], 127 - 2 * 2 + 3 * -2);
  Tensor y(DType::kF32, Shape{3, 1});
  run_layer(model, model.layers[0], std::vector<ConstTensorView>{source}, y);
  const float step = (2.54F / 127.0F) * 0.5F;
  EXPECT_EQ(y.data<float>()[0], 255.0F * step + 0.25F);
  EXPECT_EQ(y.data<float>()[1], 0.25F);
  EXPECT_EQ(y.data<float>()[2], 117.0F * 0.5F + 0.25F);
}

TEST(Dynamic, RunLayerFollowsTheFormulaBitForBit) {
  int compared = 0;
  int bounded = 0;
  for (const LayerCase& problem : cases()) {
    SCOPED_TRACE(problem.name);
    const RandomLayer made = dynamic_layer(problem, 2);
    const Layer& layer = made.layer();
    // The static layer of the same codes gives the sums.
    RandomLayer fixed = random_layer(problem, 2);
    const std::int64_t images = problem.source.n();
    const std::int64_t size = problem.source.elements() / images;
    std::vector<float> scales;
    for (std::int64_t n = 0; n < images; ++n) {
      scales.push_back(naive_scale(made.source, n, problem.source_format));
      for (std::int64_t i = n * size; i < (n + 1) * size; ++i) {
        const std::int32_t code =
            quantize(made.source.data<float>()[i], 1.0F / scales.back(), problem.source_format);
        static_cast<std::uint8_t*>(fixed.source.raw())[i] = static_cast<std::uint8_t>(code);
      }
    }
    Tensor expected(DType::kS32, output_shape(problem));
    accumulate(fixed.model, fixed.layer(), fixed.source, expected);
    Tensor acc(DType::kS32, expected.shape());
    accumulate(made.model, layer, made.source, acc);
    ASSERT_EQ(std::memcmp(acc.raw(), expected.raw(), acc.bytes()), 0);

    Tensor out(DType::kF32, expected.shape());
    std::vector<ConstTensorView> inputs{made.source};
    if (problem.residual) {
      copy(made.residual, out);  // in place
      inputs.push_back(out);
    }
    run_layer(made.model, layer, inputs, out);
    const std::int64_t per_image = out.elements() / images;
    for (std::int64_t i = 0; i < out.elements(); ++i) {
      const std::int64_t o = i % problem.outputs;
      const float step =
          scales[static_cast<std::size_t>(i / per_image)] * layer.multiplier.data<float>()[o];
      float t = scale_accumulator(acc.data<std::int32_t>()[i], step, layer.bias.data<float>()[o]);
      if (problem.residual) t = t + made.residual.data<float>()[i];
      t = std::fmin(std::fmax(t, problem.clip.low), problem.clip.high);
      bounded += t == problem.clip.high;
      ASSERT_EQ(out.data<float>()[i], t) << i;
      ++compared;
    }
  }
  EXPECT_GT(compared, 5000);
  EXPECT_GT(bounded, 100);
}

TEST(Dynamic, AnImageDoesNotDependOnItsNeighboursNorOnThreads) {
  const LayerCase problem = cases().front();
  const RandomLayer made = dynamic_layer(problem, 3);
  Tensor all(DType::kF32, output_shape(problem));
  run_layer(made.model, made.layer(), std::vector<ConstTensorView>{made.source}, all);
  const int before = threads();
  for (const int count : {1, 3}) {
    set_threads(count);
    for (std::int64_t n = 0; n < problem.source.n(); ++n) {
      const Shape one = problem.source.with_batch(1);
      const ConstTensorView source(DType::kF32, one,
                                   made.source.data<float>() + n * one.elements());
      Tensor out(DType::kF32, all.shape().with_batch(1));
      std::vector<std::byte> memory(scratch_bytes(made.model, made.layer(), 1) + 64);
      const auto skip = 64 - reinterpret_cast<std::uintptr_t>(memory.data()) % 64;
      run_layer(made.model, made.layer(), std::vector<ConstTensorView>{source}, out,
                {memory.data() + skip, memory.size() - 64});
      EXPECT_EQ(std::memcmp(out.raw(), all.data<float>() + n * out.elements(), out.bytes()), 0);
    }
  }
  set_threads(before);
}

TEST(Dynamic, NamesLayerAndImageOfAValueThatIsNotFinite) {
  const LayerCase problem = cases().front();
  for (const float bad : {kNan, kInfinity, -kInfinity}) {
    RandomLayer made = dynamic_layer(problem, 4);
    made.source.data<float>()[made.source.elements() - 1] = bad;
    Tensor out(DType::kF32, output_shape(problem));
    EXPECT_ERROR(
        NumericError,
        run_layer(made.model, made.layer(), std::vector<ConstTensorView>{made.source}, out),
        "layer 3x3", "image 2", "finite activations");
  }
}

// The reals of a weight-only layer, and that a negative multiplier (batch norm's) is one.
TEST(WeightOnly, UsesMultiplierTimesCode) {
  LayerCase problem = cases().front();
  problem.source = {1, 1, 1, 1};
  problem.window = {};
  problem.outputs = 4;
  problem.clip = {};
  RandomLayer made = dynamic_layer(problem, 5);
  Layer& layer = made.model.layers.front();
  layer.mode = ComputeMode::kWeightOnly;
  made.source.data<float>()[0] = 3.0F;
  Tensor out(DType::kF32, output_shape(problem));
  run_layer(made.model, layer, std::vector<ConstTensorView>{made.source}, out);
  EXPECT_LT(layer.multiplier.data<float>()[3], 0.0F);
  for (std::int64_t o = 0; o < 4; ++o) {
    const float weight =
        layer.multiplier.data<float>()[o] * static_cast<float>(code_at(layer.weight, o));
    EXPECT_EQ(out.data<float>()[o], 3.0F * weight + layer.bias.data<float>()[o]);
  }
}

}  // namespace
}  // namespace bitloom::integer
