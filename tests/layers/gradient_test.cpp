// Gradients, twice removed: the double reference against central differences, then oneDNN's f32
// against the double reference. A case is a graph; tensors whose gradient is wanted are parameters.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"
#include "support/reference_network.h"

namespace bitloom::layers {
namespace {

using reference::Array;
using reference::Arrays;
using reference::ReferenceNetwork;

struct GradientCase {
  const char* name;
  std::int64_t batch;
  const char* nodes;
};

void PrintTo(const GradientCase& what, std::ostream* out) { *out << what.name; }

// Sum of products of a few hundred f32 numbers: some 1e-7 each, so 1e-5 of the largest is ample.
constexpr double kFloatTolerance = 1e-5;
constexpr double kDifferenceTolerance = 1e-6;

Arrays<double> given_values(const ParameterStore& store, ConstTensorView images) {
  Arrays<double> given;
  given.emplace("input", Array<double>(images));
  for (const auto& [name, parameter] : store.all()) {
    given.emplace(name, Array<double>(parameter.value.view()));
  }
  return given;
}

double largest(const std::vector<double>& values) {
  double out = 0.0;
  for (const double value : values) out = std::max(out, std::fabs(value));
  return out;
}

class Gradients : public testing::TestWithParam<GradientCase> {
 protected:
  static constexpr std::uint64_t kSeed = 5;

  Gradients()
      : graph_(Graph::parse(std::string("bitloom-graph 1\n") + GetParam().nodes, "case")),
        store_(kSeed),
        network_(graph_, float_layers(), store_, {.batch = GetParam().batch}),
        images_(DType::kF32, network_.edge("input").shape) {
    shake(store_);
    fill_normal(images_, "images");
    weights_ = Tensor(DType::kF32, network_.edge(graph_.output().name).shape);
    fill_normal(weights_, "loss");
  }

  // The loss is the sum of output * weights_, so the output's gradient is weights_.
  double loss(ReferenceNetwork<double>& reference) const {
    const Array<double>& output = reference.forward();
    double sum = 0.0;
    for (std::size_t i = 0; i < output.values.size(); ++i) {
      sum += output.values[i] * static_cast<double>(weights_.span<float>()[i]);
    }
    return sum;
  }

  std::vector<std::string> trainable() const {
    std::vector<std::string> names;
    for (const auto& [name, parameter] : store_.all()) {
      if (is_trainable(parameter.role)) names.push_back(name);
    }
    return names;
  }

  Graph graph_;
  ParameterStore store_;
  Network network_;
  Tensor images_;
  Tensor weights_;
};

TEST_P(Gradients, ReferenceAgreesWithCentralDifferences) {
  ReferenceNetwork<double> reference(graph_, given_values(store_, images_), kSeed);
  loss(reference);
  const Arrays<double> gradients = reference.backward(Array<double>(weights_.view()));
  constexpr double kStep = 1e-5;
  constexpr std::size_t kSamples = 24;
  std::size_t checked = 0;
  for (const std::string& name : trainable()) {
    const std::vector<double>& gradient = gradients.at(name).values;
    const double tolerance = kDifferenceTolerance * std::max(largest(gradient), 1.0);
    const std::size_t stride = std::max<std::size_t>(1, gradient.size() / kSamples);
    for (std::size_t i = 0; i < gradient.size(); i += stride) {
      double& value = reference.given(name).values[i];
      const double before = value;
      value = before + kStep;
      const double above = loss(reference);
      value = before - kStep;
      const double below = loss(reference);
      value = before;
      EXPECT_NEAR((above - below) / (2 * kStep), gradient[i], tolerance) << name << "[" << i << "]";
      ++checked;
    }
  }
  EXPECT_GT(checked, 0U);
}

TEST_P(Gradients, NetworkAgreesWithReference) {
  ReferenceNetwork<double> reference(graph_, given_values(store_, images_), kSeed);
  const Array<double> expected = reference.forward();
  const Arrays<double> gradients = reference.backward(Array<double>(weights_.view()));
  for (auto& [name, parameter] : store_.all()) {
    if (is_trainable(parameter.role)) fill_normal(parameter.gradient, "stale");
  }

  const ConstTensorView output = network_.forward(images_, Phase::kTrain);
  for (std::int64_t i = 0; i < output.elements(); ++i) {
    ASSERT_NEAR(output.data<float>()[i], expected[i], kFloatTolerance * largest(expected.values))
        << "output[" << i << "]";
  }
  network_.backward(weights_);
  for (const std::string& name : trainable()) {
    const std::vector<double>& wanted = gradients.at(name).values;
    const auto found = store_.at(name).gradient.span<float>();
    const double tolerance = kFloatTolerance * std::max(largest(wanted), 1e-3);
    for (std::size_t i = 0; i < wanted.size(); ++i) {
      ASSERT_NEAR(found[i], wanted[i], tolerance) << name << "[" << i << "]";
    }
  }
}

const GradientCase kCases[] = {
    {"conv_3x3_pad1", 1, R"(input = input(shape=1)
      x = parameter(shape=2x3x5x7)
      w = parameter(shape=4x3x3x3)
      y = conv2d(x, w, pad=1, bias=1))"},
    {"conv_5x5_stride2_pad2_odd_channels", 1, R"(input = input(shape=1)
      x = parameter(shape=3x5x9x6)
      w = parameter(shape=7x5x5x5)
      y = conv2d(x, w, stride=2, pad=2))"},
    {"conv_1x1_stride2", 1, R"(input = input(shape=1)
      x = parameter(shape=2x16x5x5)
      w = parameter(shape=17x16x1x1)
      y = conv2d(x, w, stride=2, bias=1))"},
    {"conv_one_channel_rectangular_kernel", 1, R"(input = input(shape=1)
      x = parameter(shape=2x1x6x5)
      w = parameter(shape=32x1x3x2)
      y = conv2d(x, w))"},
    {"conv_wide_channels", 1, R"(input = input(shape=1)
      x = parameter(shape=2x33x4x4)
      w = parameter(shape=65x33x3x3)
      y = conv2d(x, w, pad=1))"},
    {"conv_groups", 1, R"(input = input(shape=1)
      x = parameter(shape=2x6x5x5)
      w = parameter(shape=9x2x3x3)
      y = conv2d(x, w, pad=1, groups=3, bias=1))"},
    {"conv_depthwise_stride2", 1, R"(input = input(shape=1)
      x = parameter(shape=2x5x7x7)
      w = parameter(shape=5x1x3x3)
      y = conv2d(x, w, stride=2, pad=1, groups=5))"},
    {"conv_depthwise_odd_batch", 1, R"(input = input(shape=1)
      x = parameter(shape=3x19x7x5)
      w = parameter(shape=19x1x3x3)
      y = conv2d(x, w, pad=1, groups=19, bias=1))"},
    {"conv_depthwise_two_outputs_a_channel", 1, R"(input = input(shape=1)
      x = parameter(shape=2x6x5x6)
      w = parameter(shape=12x1x5x5)
      y = conv2d(x, w, stride=2, pad=2, groups=6))"},
    {"linear_bias", 1, R"(input = input(shape=1)
      x = parameter(shape=5x37)
      w = parameter(shape=11x37)
      y = linear(x, w, bias=1))"},
    {"linear_one_row", 1, R"(input = input(shape=1)
      x = parameter(shape=1x130)
      w = parameter(shape=3x130)
      y = linear(x, w))"},
    {"batch_norm_odd_channels", 1, R"(input = input(shape=1)
      x = parameter(shape=4x5x3x3)
      y = batch_norm(x))"},
    {"batch_norm_rank_2", 1, R"(input = input(shape=1)
      x = parameter(shape=9x19)
      y = batch_norm(x, epsilon=0.001))"},
    {"batch_norm_over_the_input", 6, R"(input = input(shape=17x2x3)
      y = batch_norm(input))"},
    {"fused_norm_relu", 1, R"(input = input(shape=1)
      x = parameter(shape=4x19x5x3)
      w = parameter(shape=9x19x3x3)
      c = conv2d(x, w, pad=1)
      y = fused(c, norm=bn, epsilon=0.001, low=0))"},
    {"fused_norm_add_of_a_stem", 1, R"(input = input(shape=1)
      x = parameter(shape=3x6x5x5)
      s = fused(x, norm=b0, low=0)
      w = parameter(shape=6x6x3x3)
      c = conv2d(s, w, pad=1)
      y = fused(c, s, norm=b1)
      z = hardtanh(y, low=-2, high=2))"},
    {"fused_norm_add_relu6_over_two_branches", 2, R"(input = input(shape=5x9x7)
      v = parameter(shape=17x5x1x1)
      a = conv2d(input, v)
      w = parameter(shape=17x5x3x3)
      b = conv2d(input, w, pad=1)
      n = batch_norm(b)
      y = fused(a, n, norm=bn, low=0, high=0.9)
      g = global_avg_pool(y))"},
    {"fused_add_relu", 1, R"(input = input(shape=1)
      x = parameter(shape=3x7x4x4)
      w = parameter(shape=7x7x3x3)
      c = conv2d(x, w, pad=1)
      y = fused(c, x, low=0)
      d = fused(c, y, low=-0.5, high=0.5))"},
    {"relu", 1, R"(input = input(shape=1)
      x = parameter(shape=3x4x5x3)
      y = relu(x))"},
    {"relu6", 1, R"(input = input(shape=1)
      x = parameter(shape=3x4x5x3)
      w = parameter(shape=9x4x3x3)
      c = conv2d(x, w, pad=1)
      y = relu6(c))"},
    {"hardtanh", 1, R"(input = input(shape=1)
      x = parameter(shape=3x37)
      y = hardtanh(x))"},
    {"hardtanh_bounds", 1, R"(input = input(shape=1)
      x = parameter(shape=2x5x3x3)
      y = hardtanh(x, low=-0.25, high=0.5))"},
    {"avg_pool_2x2", 1, R"(input = input(shape=1)
      x = parameter(shape=2x5x6x7)
      y = avg_pool(x, kernel=2))"},
    {"avg_pool_overlapping_padded", 1, R"(input = input(shape=1)
      x = parameter(shape=2x19x7x6)
      y = avg_pool(x, kernel=3, stride=2, pad=1))"},
    {"avg_pool_same", 1, R"(input = input(shape=1)
      x = parameter(shape=1x65x4x5)
      y = avg_pool(x, kernel=3, stride=1, pad=1))"},
    {"avg_pool_counts_padding", 1, R"(input = input(shape=1)
      x = parameter(shape=2x5x4x5)
      y = avg_pool(x, kernel=3, stride=1, pad=1, count_pad=1))"},
    {"conv2d_1x7", 1, R"(input = input(shape=1)
      x = parameter(shape=2x3x4x9)
      w = parameter(shape=4x3x1x7)
      y = conv2d(x, w, pad=0, pad_w=3))"},
    {"conv2d_3x1", 1, R"(input = input(shape=1)
      x = parameter(shape=2x3x5x4)
      w = parameter(shape=4x3x3x1)
      y = conv2d(x, w, pad=1, pad_w=0))"},
    {"concat_odd_channels", 1, R"(input = input(shape=1)
      a = parameter(shape=2x1x3x4)
      b = parameter(shape=2x3x3x4)
      c = parameter(shape=2x17x3x4)
      y = concat(a, b, c))"},
    {"concat_rank_2_twice_the_same", 1, R"(input = input(shape=1)
      a = parameter(shape=3x5)
      b = parameter(shape=3x2)
      y = concat(a, b, a))"},
    {"dropout", 1, R"(input = input(shape=1)
      x = parameter(shape=3x7x5x3)
      y = dropout(x))"},
    {"dropout_over_a_bend", 1, R"(input = input(shape=1)
      x = parameter(shape=5x37)
      w = parameter(shape=11x37)
      r = relu(x)
      d = dropout(r, ratio=0.2)
      l = linear(d, w)
      e = dropout(l, ratio=0.75)
      y = hardtanh(e, low=-2, high=2))"},
    {"max_pool_2x2", 1, R"(input = input(shape=1)
      x = parameter(shape=2x5x6x7)
      y = max_pool(x, kernel=2))"},
    {"max_pool_overlapping_padded", 1, R"(input = input(shape=1)
      x = parameter(shape=2x19x7x6)
      y = max_pool(x, kernel=3, stride=2, pad=1))"},
    {"global_avg_pool", 1, R"(input = input(shape=1)
      x = parameter(shape=3x18x5x4)
      y = global_avg_pool(x))"},
    {"add", 1, R"(input = input(shape=1)
      a = parameter(shape=2x3x4x5)
      b = parameter(shape=2x3x4x5)
      y = add(a, b))"},
    {"flatten", 1, R"(input = input(shape=1)
      x = parameter(shape=2x3x4x5)
      y = flatten(x))"},
    // One edge read twice by one node and once by another; a parameter shared by two convolutions.
    {"fan_out", 1, R"(input = input(shape=1)
      x = parameter(shape=2x4x5x5)
      w = parameter(shape=4x4x3x3)
      a = conv2d(x, w, pad=1)
      b = relu(a)
      twice = add(b, b)
      c = conv2d(b, w, pad=1)
      sum = add(c, twice)
      y = add(sum, a))"},
    // Flatten's input has a second reader; the shared memory must keep both right.
    {"flatten_with_second_reader", 1, R"(input = input(shape=1)
      x = parameter(shape=3x4x3x3)
      w = parameter(shape=4x4x1x1)
      v = parameter(shape=4x36)
      a = conv2d(x, w)
      pooled = global_avg_pool(a)
      flat = flatten(a)
      r = relu(flat)
      p = flatten(pooled)
      s = linear(r, v)
      y = add(s, p))"},
    {"residual_network", 3, R"(input = input(shape=2x8x8)
      stem.w = parameter(shape=4x2x3x3)
      stem = conv2d(input, stem.w, pad=1)
      stem.bn = batch_norm(stem)
      stem.relu = relu(stem.bn)
      c1.w = parameter(shape=4x4x3x3)
      c1 = conv2d(stem.relu, c1.w, pad=1)
      c1.bn = batch_norm(c1)
      add1 = add(c1.bn, stem.relu)
      relu1 = relu(add1)
      short.w = parameter(shape=6x4x1x1)
      short = conv2d(relu1, short.w, stride=2)
      short.bn = batch_norm(short)
      c2.w = parameter(shape=6x4x3x3)
      c2 = conv2d(relu1, c2.w, stride=2, pad=1)
      c2.bn = batch_norm(c2)
      add2 = add(c2.bn, short.bn)
      relu2 = relu(add2)
      pool = global_avg_pool(relu2)
      flat = flatten(pool)
      fc.w = parameter(shape=5x6)
      y = linear(flat, fc.w, bias=1))"},
    {"fire_module", 2, R"(input = input(shape=3x8x8)
      s.w = parameter(shape=4x3x1x1)
      s = conv2d(input, s.w, bias=1)
      s.r = relu(s)
      a.w = parameter(shape=5x4x1x1)
      a = conv2d(s.r, a.w, bias=1)
      a.r = relu(a)
      b.w = parameter(shape=7x4x3x3)
      b = conv2d(s.r, b.w, pad=1, bias=1)
      b.r = relu(b)
      p = avg_pool(s.r, kernel=3, stride=1, pad=1)
      j = concat(a.r, b.r, p)
      d = dropout(j)
      c.w = parameter(shape=4x16x1x1)
      c = conv2d(d, c.w, bias=1)
      g = global_avg_pool(c)
      y = flatten(g))"},
    {"inverted_residual", 3, R"(input = input(shape=3x6x6)
      e.w = parameter(shape=12x3x1x1)
      e = conv2d(input, e.w)
      e.bn = batch_norm(e)
      e.r = relu6(e.bn)
      d.w = parameter(shape=12x1x3x3)
      d = conv2d(e.r, d.w, pad=1, groups=12)
      d.bn = batch_norm(d)
      d.r = relu6(d.bn)
      p.w = parameter(shape=3x12x1x1)
      p = conv2d(d.r, p.w)
      p.bn = batch_norm(p)
      y = add(p.bn, input))"},
    {"small_lenet", 2, R"(input = input(shape=1x8x8)
      c1.w = parameter(shape=5x1x5x5)
      c1 = conv2d(input, c1.w, pad=2)
      b1 = batch_norm(c1)
      r1 = relu(b1)
      p1 = max_pool(r1, kernel=2)
      c2.w = parameter(shape=7x5x3x3)
      c2 = conv2d(p1, c2.w, pad=1)
      b2 = batch_norm(c2)
      r2 = relu(b2)
      p2 = max_pool(r2, kernel=2)
      f = flatten(p2)
      f1.w = parameter(shape=9x28)
      f1 = linear(f, f1.w, bias=1)
      r3 = relu(f1)
      f2.w = parameter(shape=4x9)
      y = linear(r3, f2.w, bias=1))"},
};

INSTANTIATE_TEST_SUITE_P(Layers, Gradients, testing::ValuesIn(kCases),
                         [](const auto& one) { return std::string(one.param.name); });

}  // namespace
}  // namespace bitloom::layers
