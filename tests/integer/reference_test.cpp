// The reference executor against loops that read like the formula.
#include "bitloom/integer/reference.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "bitloom/core/parallel.h"
#include "integer/random_layer.h"
#include "support/error_matchers.h"

namespace bitloom::integer {
namespace {

std::int32_t code_at(ConstTensorView codes, std::int64_t i) {
  return codes.dtype() == DType::kU8 ? codes.data<std::uint8_t>()[i] : codes.data<std::int8_t>()[i];
}

/// One output.
struct Place {
  std::int64_t n, o, y, x;
};

/// sum (x - z) * w in 64 bits, six loops, padding left out.
std::int64_t naive_sum(const LayerCase& problem, const RandomLayer& made, const Place& at) {
  const Tensor& weight = made.layer().weight;
  const std::int32_t zero_point = problem.source_format.zero_point;
  std::int64_t sum = 0;
  if (problem.linear) {
    const std::int64_t inputs = weight.shape().c();
    for (std::int64_t i = 0; i < inputs; ++i) {
      sum += std::int64_t{code_at(made.source, at.n * inputs + i) - zero_point} *
             code_at(weight, at.o * inputs + i);
    }
    return sum;
  }
  const Shape& source = problem.source;
  const Window& window = problem.window;
  const std::int64_t inputs = weight.shape().c();
  const std::int64_t group = at.o / (problem.outputs / window.groups);
  for (std::int64_t i = 0; i < inputs; ++i) {
    for (std::int64_t ky = 0; ky < window.kernel_h; ++ky) {
      for (std::int64_t kx = 0; kx < window.kernel_w; ++kx) {
        const std::int64_t y = at.y * window.stride - window.pad_h() + ky;
        const std::int64_t x = at.x * window.stride - window.pad_w() + kx;
        if (y < 0 || x < 0 || y >= source.h() || x >= source.w()) continue;
        const std::int64_t from = source.offset(at.n, group * inputs + i, y, x);
        sum += std::int64_t{code_at(made.source, from) - zero_point} *
               code_at(weight, weight.shape().offset(at.o, i, ky, kx));
      }
    }
  }
  return sum;
}

std::vector<LayerCase> cases() {
  std::vector<LayerCase> out;
  const auto conv = [&](const char* name, Shape source, std::int64_t outputs, Window window) {
    LayerCase made;
    made.name = name;
    made.source = source;
    made.outputs = outputs;
    made.window = window;
    made.source_format = u8_format();
    made.destination_format = u8_format();
    out.push_back(made);
  };
  const auto square = [](std::int64_t kernel, std::int64_t stride, std::int64_t pad,
                         std::int64_t groups) {
    return Window{
        .kernel_h = kernel, .kernel_w = kernel, .stride = stride, .pad = pad, .groups = groups};
  };
  conv("3x3", {2, 8, 7, 6}, 12, square(3, 1, 1, 1));
  conv("odd channels", {1, 5, 6, 9}, 7, square(3, 1, 1, 1));
  conv("1x1 stride 2", {3, 33, 5, 5}, 5, square(1, 2, 0, 1));
  conv("5x5 on one channel", {1, 1, 9, 8}, 6, square(5, 1, 2, 1));
  conv("7x7 stride 2 stem", {1, 3, 15, 14}, 9, square(7, 2, 3, 1));
  conv("wide padding", {1, 2, 3, 3}, 3, square(3, 1, 2, 1));
  conv("depthwise", {2, 19, 6, 5}, 19, square(3, 1, 1, 19));
  conv("depthwise stride 2", {1, 8, 7, 7}, 8, square(3, 2, 1, 8));
  conv("groups of odd sizes", {1, 9, 6, 6}, 15, square(3, 1, 1, 3));
  conv("depthwise with multiplier 2", {1, 6, 5, 5}, 12, square(3, 1, 1, 6));
  conv("tall window", {1, 4, 8, 6}, 4,
       {.kernel_h = 3, .kernel_w = 1, .stride = 1, .pad = 0, .groups = 1});
  conv("1x7 padded in columns", {2, 5, 4, 9}, 6, {.kernel_w = 7, .column_pad = 3});
  conv("7x1 padded in rows", {1, 6, 9, 4}, 5, {.kernel_h = 7, .pad = 3, .column_pad = 0});
  LayerCase linear = out.front();
  linear.name = "linear over maps";
  linear.linear = true;
  linear.source = {3, 7, 3, 2};
  linear.outputs = 11;
  out.push_back(linear);
  linear.name = "linear";
  linear.source = {1, 300};
  out.push_back(linear);
  const std::size_t count = out.size();
  for (std::size_t i = 0; i < count; ++i) {  // again from a zero point, and from signed codes
    LayerCase other = out[i];
    other.name += ", zero point";
    other.source_format = u8_format(8, 131);
    other.destination_format = u8_format(8, 128);
    other.clip = {};
    other.residual = s8_format();
    out.push_back(other);
    other.name = out[i].name + ", signed";
    other.source_format = s8_format();
    other.destination = DType::kS8;
    other.destination_format = s8_format(5);
    other.residual = u8_format(8, 128);
    out.push_back(other);
    other.name = out[i].name + ", f32";
    other.destination = DType::kF32;
    out.push_back(other);
  }
  return out;
}

/// Calls body(place, index) for every output.
template <typename Body>
void for_each_output(const Shape& output, const Body& body) {
  for (std::int64_t n = 0; n < output.n(); ++n) {
    for (std::int64_t y = 0; y < output.h(); ++y) {
      for (std::int64_t x = 0; x < output.w(); ++x) {
        for (std::int64_t o = 0; o < output.c(); ++o) {
          body(Place{n, o, y, x}, output.offset(n, o, y, x));
        }
      }
    }
  }
}

TEST(Reference, AccumulatorsEqualSixLoops) {
  std::int64_t compared = 0;
  for (const LayerCase& problem : cases()) {
    const RandomLayer made = random_layer(problem, 1);
    Tensor acc(DType::kS32, output_shape(problem));
    accumulate(made.model, made.layer(), made.source, acc);
    for_each_output(acc.shape(), [&](const Place& at, std::int64_t i) {
      ++compared;
      ASSERT_EQ(acc.data<std::int32_t>()[i], naive_sum(problem, made, at)) << problem.name;
    });
  }
  EXPECT_GT(compared, 10000);
}

/// The formula of requantize.h, value by value.
float naive_value(const LayerCase& problem, const RandomLayer& made, const Place& at,
                  std::int64_t index) {
  const Layer& layer = made.layer();
  float t = static_cast<float>(naive_sum(problem, made, at)) * layer.multiplier.data<float>()[at.o];
  t = t + layer.bias.data<float>()[at.o];
  if (problem.residual) {
    const float code =
        static_cast<float>(code_at(made.residual, index) - problem.residual->zero_point);
    t = std::fma(code, layer.residual_ratio, t);
  }
  return t;
}

TEST(Reference, RunLayerFollowsTheFormulaBitForBit) {
  std::int64_t compared = 0;
  for (const LayerCase& problem : cases()) {
    const RandomLayer made = random_layer(problem, 2);
    Tensor out(problem.destination, output_shape(problem));
    std::vector<ConstTensorView> inputs{made.source};
    if (problem.residual) inputs.push_back(made.residual);
    run_layer(made.model, made.layer(), inputs, out);
    for_each_output(out.shape(), [&](const Place& at, std::int64_t i) {
      ++compared;
      const Clip bounds = bounds_of_t(problem);
      const float t =
          std::fmin(std::fmax(naive_value(problem, made, at, i), bounds.low), bounds.high);
      if (problem.destination == DType::kF32) {
        ASSERT_EQ(out.data<float>()[i], t) << problem.name;
      } else {
        ASSERT_EQ(static_cast<float>(code_at(out, i)), std::nearbyint(t)) << problem.name;
      }
    });
  }
  EXPECT_GT(compared, 10000);
}

TEST(Reference, ResidualMayLendItsMemory) {
  LayerCase problem = cases().front();
  problem.residual = u8_format();
  const RandomLayer made = random_layer(problem, 3);
  Tensor apart(DType::kU8, output_shape(problem));
  Tensor shared = made.residual.clone();
  const std::vector<ConstTensorView> inputs{made.source, made.residual};
  run_layer(made.model, made.layer(), inputs, apart);
  run_layer(made.model, made.layer(), std::vector<ConstTensorView>{made.source, shared}, shared);
  EXPECT_EQ(std::memcmp(apart.raw(), shared.raw(), apart.bytes()), 0);
}

TEST(Reference, IsTheSameForAnyThreadCountAndScratch) {
  const int before = threads();
  int compared = 0;
  for (const LayerCase& problem : cases()) {
    const RandomLayer made = random_layer(problem, 4);
    Tensor expected(DType::kS32, output_shape(problem));
    set_threads(1);
    accumulate(made.model, made.layer(), made.source, expected);
    for (const int count : {2, 3}) {
      set_threads(count);
      Tensor memory(DType::kU8, Shape{static_cast<std::int64_t>(
                                    scratch_bytes(made.model, made.layer(), problem.source.n()))});
      const std::span<std::byte> scratch(static_cast<std::byte*>(memory.raw()), memory.bytes());
      std::memset(memory.raw(), 0x5A, memory.bytes());  // what was in it does not matter
      Tensor acc(DType::kS32, expected.shape());
      accumulate(made.model, made.layer(), made.source, acc, scratch);
      EXPECT_EQ(std::memcmp(acc.raw(), expected.raw(), acc.bytes()), 0) << problem.name;
      ++compared;
    }
  }
  set_threads(before);
  EXPECT_GT(compared, 100);
}

TEST(Reference, FloatLayersEqualDoubleSums) {
  int compared = 0;
  for (const LayerCase& problem : cases()) {
    if (problem.destination != DType::kU8 || problem.residual) continue;
    RandomLayer made = random_layer(problem, 5);
    Layer& layer = made.model.layers.front();
    layer.mode = ComputeMode::kWeightOnly;
    Tensor source(DType::kF32, problem.source);
    for (std::int64_t i = 0; i < source.elements(); ++i) {
      source.data<float>()[i] = static_cast<float>(code_at(made.source, i));
    }
    Tensor out(DType::kF32, output_shape(problem));
    run_layer(made.model, layer, std::vector<ConstTensorView>{source}, out);
    for_each_output(out.shape(), [&](const Place& at, std::int64_t i) {
      const double scale = layer.multiplier.data<float>()[at.o];
      const double bias = layer.bias.data<float>()[at.o];
      const double sum = static_cast<double>(naive_sum(problem, made, at)) * scale + bias;
      // Terms reach 255 * 127 * scale; 300 of them lose at most 300 half ulps of their sum.
      ASSERT_NEAR(out.data<float>()[i], std::fmax(sum, 0.0), 1e-3) << problem.name;
      ++compared;
    });
  }
  EXPECT_GT(compared, 3000);
}

Model unary_model(LayerOp op, const AffineFormat& format, DType dtype, const Shape& source,
                  const Shape& output, const Window& window) {
  Model model;
  model.tensors.push_back({.name = "x", .shape = source, .dtype = dtype, .format = format});
  model.tensors.push_back({.name = "y", .shape = output, .dtype = dtype, .format = format});
  Layer layer;
  layer.name = "pool";
  layer.op = op;
  layer.inputs = {0};
  layer.output = 1;
  layer.window = window;
  model.layers.push_back(std::move(layer));
  return model;
}

// Every sum of 7x7, 8x8, 6x6 (ties without a power of two) and 1x1 pixels of u8 codes.
TEST(Reference, GlobalAverageRoundsHalfToEvenForEverySum) {
  int ties = 0;
  for (const std::int64_t side : {1, 6, 7, 8}) {
    const std::int64_t pixels = side * side;
    const Shape one{1, 1, side, side};
    const Model model =
        unary_model(LayerOp::kGlobalAvgPool, s8_format(), DType::kS8, one, Shape{1, 1}, {});
    Tensor source(DType::kS8, one);
    Tensor out(DType::kS8, Shape{1, 1});
    for (std::int64_t sum = -128 * pixels; sum <= 127 * pixels; ++sum) {
      std::int64_t left = sum;
      for (std::int64_t i = 0; i < pixels; ++i) {
        const std::int64_t code = std::clamp<std::int64_t>(left, -128, 127);
        source.data<std::int8_t>()[i] = static_cast<std::int8_t>(code);
        left -= code;
      }
      ASSERT_EQ(left, 0);
      run_layer(model, model.layers[0], std::vector<ConstTensorView>{source}, out);
      ties += 2 * sum % pixels == 0 && sum % pixels != 0;
      // Exact in double: the quotient of two integers below 2^20 is never rounded to a tie.
      const double mean = static_cast<double>(sum) / static_cast<double>(pixels);
      ASSERT_EQ(out.data<std::int8_t>()[0], static_cast<std::int8_t>(std::nearbyint(mean)));
    }
  }
  EXPECT_GT(ties, 500);
}

TEST(Reference, MaxPoolIgnoresPadding) {
  const Shape source{2, 3, 5, 4};
  const Window window{.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1, .groups = 1};
  const Shape pooled{2, 3, 3, 2};
  const Model model =
      unary_model(LayerOp::kMaxPool, s8_format(), DType::kS8, source, pooled, window);
  const Tensor x = random_codes(source, DType::kS8, {-128, -1}, RandomStream(1, "pool"));
  Tensor y(DType::kS8, pooled);
  run_layer(model, model.layers[0], std::vector<ConstTensorView>{x}, y);
  for_each_output(pooled, [&](const Place& at, std::int64_t i) {
    std::int32_t best = -129;
    for (std::int64_t iy = 2 * at.y - 1; iy <= 2 * at.y + 1; ++iy) {
      for (std::int64_t ix = 2 * at.x - 1; ix <= 2 * at.x + 1; ++ix) {
        if (iy < 0 || ix < 0 || iy >= 5 || ix >= 4) continue;
        best = std::max(best, code_at(x, source.offset(at.n, at.o, iy, ix)));
      }
    }
    ASSERT_EQ(code_at(y, i), best);  // below 0 everywhere: a padding of 0 would win
  });
}

// Windows that overhang, an odd channel count, signed codes; ties by few levels.
TEST(Reference, AveragesLeavePaddingOut) {
  const Shape source{2, 5, 7, 6};
  int ties = 0;
  for (const Window& window : {Window{.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1},
                               Window{.kernel_h = 2, .kernel_w = 4, .stride = 1, .pad = 1}}) {
    const Shape pooled{2, 5, (7 + 2 - window.kernel_h) / window.stride + 1,
                       (6 + 2 - window.kernel_w) / window.stride + 1};
    const Model model =
        unary_model(LayerOp::kAvgPool, s8_format(), DType::kS8, source, pooled, window);
    const Tensor x = random_codes(source, DType::kS8, {-4, 3}, RandomStream(2, "pool"));
    Tensor y(DType::kS8, pooled), reals_y(DType::kF32, pooled), reals_x(DType::kF32, source);
    for (std::int64_t i = 0; i < x.elements(); ++i) {
      reals_x.data<float>()[i] = static_cast<float>(code_at(x, i));
    }
    run_layer(model, model.layers[0], std::vector<ConstTensorView>{x}, y);
    run_layer(model, model.layers[0], std::vector<ConstTensorView>{reals_x}, reals_y);
    for_each_output(pooled, [&](const Place& at, std::int64_t i) {
      std::int32_t sum = 0;
      std::int32_t count = 0;
      for (std::int64_t ky = 0; ky < window.kernel_h; ++ky) {
        for (std::int64_t kx = 0; kx < window.kernel_w; ++kx) {
          const std::int64_t iy = at.y * window.stride - window.pad + ky;
          const std::int64_t ix = at.x * window.stride - window.pad + kx;
          if (iy < 0 || ix < 0 || iy >= 7 || ix >= 6) continue;
          sum += code_at(x, source.offset(at.n, at.o, iy, ix));
          ++count;
        }
      }
      ties += 2 * sum % count == 0 && sum % count != 0;
      const double mean = static_cast<double>(sum) / count;  // exact where it ties
      ASSERT_EQ(code_at(y, i), static_cast<std::int32_t>(std::nearbyint(mean)));
      ASSERT_EQ(reals_y.data<float>()[i], static_cast<float>(mean));
    });
  }
  EXPECT_GT(ties, 20);
}

// By hand, 2x2 pixels under 3x3 windows with one pixel of padding: every window holds all four and
// five zeros. Codes 9, 18, 27, 36 sum to 90, 10 over 9; without counting 22.5, which rounds to 22.
// With zero point 3, of which the padding has five: (90 + 15) / 9 = 11.67.
TEST(Reference, AveragesCountPaddingWhereAsked) {
  const Shape shape{1, 1, 2, 2};
  const auto mean_of = [&](bool counts, std::int32_t zero_point) {
    Window window{.kernel_h = 3, .kernel_w = 3, .pad = 1};
    window.count_pad = counts;
    Model model = unary_model(LayerOp::kAvgPool, u8_format(), DType::kU8, shape, shape, window);
    for (TensorInfo& tensor : model.tensors) tensor.format.zero_point = zero_point;
    const Tensor x = make_tensor<std::uint8_t>(shape, std::vector<std::uint8_t>{9, 18, 27, 36});
    Tensor y(DType::kU8, shape);
    run_layer(model, model.layers[0], std::vector<ConstTensorView>{x}, y);
    return code_at(y, 3);
  };
  EXPECT_EQ(mean_of(false, 0), 22);
  EXPECT_EQ(mean_of(true, 0), 10);
  EXPECT_EQ(mean_of(true, 3), 12);
}

TEST(Reference, ConcatJoinsChannels) {
  const std::vector<std::int64_t> channels{1, 3, 64, 65};
  for (const DType dtype : {DType::kU8, DType::kF32}) {
    Model model;
    std::vector<Tensor> sources;
    std::vector<ConstTensorView> inputs;
    for (const std::int64_t count : channels) {
      const Shape shape{2, count, 3, 5};
      Tensor codes = random_codes(shape, DType::kU8, {0, 255}, RandomStream(count, "concat"));
      if (dtype == DType::kF32) {
        Tensor reals(DType::kF32, shape);
        for (std::int64_t i = 0; i < codes.elements(); ++i) {
          reals.data<float>()[i] = 0.5F * static_cast<float>(code_at(codes, i));
        }
        codes = std::move(reals);
      }
      sources.push_back(std::move(codes));
      model.tensors.push_back({.name = "x", .shape = shape.with_batch(1), .dtype = dtype});
    }
    inputs.assign(sources.begin(), sources.end());
    Layer layer;
    layer.op = LayerOp::kConcat;
    layer.inputs = {0, 1, 2, 3};
    layer.output = 4;
    const Shape joined{2, 133, 3, 5};
    model.tensors.push_back({.name = "y", .shape = joined.with_batch(1), .dtype = dtype});
    Tensor y(dtype, joined);
    run_layer(model, layer, inputs, y);
    const std::size_t size = size_of(dtype);
    for_each_output(joined, [&](const Place& at, std::int64_t i) {
      std::int64_t channel = at.o;
      std::size_t source = 0;
      while (channel >= channels[source]) channel -= channels[source++];
      const std::int64_t from = sources[source].shape().offset(at.n, channel, at.y, at.x);
      ASSERT_EQ(std::memcmp(static_cast<const char*>(y.raw()) + static_cast<std::size_t>(i) * size,
                            static_cast<const char*>(sources[source].raw()) +
                                static_cast<std::size_t>(from) * size,
                            size),
                0);
    });
  }
}

// q(clip(x)) = clip(q(x)) for every real, on grids with and without a zero point.
TEST(Clip, NarrowsTheCodesOfAGrid) {
  int narrowed = 0;
  for (const AffineFormat& format : {u8_format(), u8_format(8, 100), s8_format(4), u8_format(2)}) {
    for (const Clip& clip : {Clip{}, kRelu, kRelu6, Clip{.low = -0.3F, .high = 0.45F}}) {
      const float scale = 0.0371F;
      const CodeRange range = clipped_range(clip, format, scale);
      for (int i = -4000; i <= 4000; ++i) {
        const float x = 0.0029F * static_cast<float>(i);
        const std::int32_t wanted = quantize(clipped(x, clip), 1.0F / scale, format);
        const std::int32_t code = quantize(x, 1.0F / scale, format);
        ASSERT_EQ(std::clamp(code, range.qmin, range.qmax), wanted) << x;
      }
      narrowed += range != format.range;
    }
  }
  EXPECT_EQ(narrowed, 7);
}

TEST(Reference, AddFollowsItsFormula) {
  const Shape shape{1, 7, 3, 3};
  Model model;
  model.tensors.push_back(
      {.name = "a", .shape = shape, .dtype = DType::kU8, .format = u8_format(), .scale = 0.03F});
  model.tensors.push_back(
      {.name = "b", .shape = shape, .dtype = DType::kS8, .format = s8_format(), .scale = 0.02F});
  model.tensors.push_back({.name = "y",
                           .shape = shape,
                           .dtype = DType::kU8,
                           .format = u8_format(6, 32),
                           .scale = 0.17F});
  Layer layer;
  layer.name = "sum";
  layer.op = LayerOp::kAdd;
  layer.mode = ComputeMode::kStatic;
  layer.inputs = {0, 1};
  layer.output = 2;
  model.layers.push_back(std::move(layer));
  const Tensor a = random_codes(shape, DType::kU8, {0, 255}, RandomStream(1, "a"));
  const Tensor b = random_codes(shape, DType::kS8, {-128, 127}, RandomStream(1, "b"));
  Tensor y(DType::kU8, shape);
  run_layer(model, model.layers[0], std::vector<ConstTensorView>{a, b}, y);
  const float ratio_a = static_cast<float>(double{0.03F} / double{0.17F});
  const float ratio_b = static_cast<float>(double{0.02F} / double{0.17F});
  for (std::int64_t i = 0; i < y.elements(); ++i) {
    const float product = static_cast<float>(code_at(a, i)) * ratio_a;
    const float t = std::fma(static_cast<float>(code_at(b, i)), ratio_b, product) + 32.0F;
    const float code = std::nearbyint(std::fmin(std::fmax(t, 0.0F), 63.0F));
    EXPECT_EQ(static_cast<float>(code_at(y, i)), code);
  }
}

TEST(Reference, EncodesPixelsByChannel) {
  Tensor table(DType::kS8, Shape{3, 256});
  for (std::int64_t i = 0; i < table.elements(); ++i) {
    table.data<std::int8_t>()[i] = static_cast<std::int8_t>(i % 256 / 2 - i / 256);
  }
  const Tensor images = random_codes({2, 3, 4, 5}, DType::kU8, {0, 255}, RandomStream(1, "pixels"));
  Tensor out(DType::kS8, images.shape());
  encode_input(images, table, out);
  for (std::int64_t i = 0; i < out.elements(); ++i) {
    EXPECT_EQ(out.data<std::int8_t>()[i],
              table.data<std::int8_t>()[i % 3 * 256 + images.data<std::uint8_t>()[i]]);
  }
}

TEST(Reference, ArgmaxTakesTheFirstOfEquals) {
  const std::vector<float> values{1, 3, 3, -1, -1, -2};
  const Tensor logits = make_tensor<float>(Shape{2, 3}, values);
  EXPECT_EQ(argmax_rows(logits), (std::vector<std::int32_t>{1, 0}));
}

}  // namespace
}  // namespace bitloom::integer
