// The layers of binary networks against PyTorch: tools/golden/binary.py, torch 2.
#include <gtest/gtest.h>

#include <cmath>
#include <optional>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/kernels/power_of_two.h"
#include "bitloom/layers/network.h"
#include "support/error_matchers.h"

namespace bitloom::layers {
namespace {

// A graph whose inputs are parameters, so that backward gives their gradients.
class GoldenLayers : public testing::Test {
 protected:
  void build(const std::string& nodes) {
    graph_ = Graph::parse("bitloom-graph 1\ninput = input(shape=1)\n" + nodes, "golden");
    network_.emplace(graph_, float_layers(), store_, NetworkOptions{.batch = 1});
  }
  const Tensor& golden(const std::string& name) const { return archive_.tensor(name); }
  void set(const std::string& parameter, const std::string& name) {
    copy(golden(name), store_.at(parameter).value);
  }
  ConstTensorView forward() { return network_->forward(images_, Phase::kTrain); }
  static void expect_near(ConstTensorView a, ConstTensorView b, const std::string& what) {
    ASSERT_EQ(a.elements(), b.elements()) << what;
    double most = 0.0;
    for (const float value : b.span<float>()) most = std::max(most, std::fabs(double{value}));
    for (std::int64_t i = 0; i < a.elements(); ++i) {
      // Sums of 54 products in another order.
      ASSERT_NEAR(a.data<float>()[i], b.data<float>()[i], 3e-6 * most) << what << "[" << i << "]";
    }
  }

  Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/binary.h5");
  ParameterStore store_{1};
  Tensor images_{DType::kF32, Shape{1, 1}};
  Graph graph_;
  std::optional<Network> network_;
};

TEST_F(GoldenLayers, RpreluMatchesTorch) {
  build("x = parameter(shape=3x5x4x4)\ny = rprelu(x)\n");
  EXPECT_EQ(store_.at("y.slope").value.data<float>()[0], 0.25F);
  set("x", "rprelu/x");
  for (const char* word : {"slope", "threshold", "offset"}) {
    set(cat("y.", word), cat("rprelu/", word));
  }
  expect_near(forward(), golden("rprelu/y"), "y");
  network_->backward(golden("rprelu/dy"));
  expect_near(store_.at("x").gradient, golden("rprelu/dx"), "dx");
  for (const char* word : {"slope", "threshold", "offset"}) {
    expect_near(store_.at(cat("y.", word)).gradient, golden(cat("rprelu/d", word)), word);
  }
}

// rprelu without shifts.
TEST_F(GoldenLayers, PreluIsRpreluWithoutShifts) {
  build("x = parameter(shape=1x2)\ny = prelu(x)\n");
  copy(make_tensor<float>(Shape{1, 2}, std::vector<float>{-2.0F, 3.0F}), store_.at("x").value);
  const ConstTensorView y = forward();
  EXPECT_EQ(y.data<float>()[0], -0.5F);
  EXPECT_EQ(y.data<float>()[1], 3.0F);
  network_->backward(make_tensor<float>(Shape{1, 2}, std::vector<float>{10.0F, 20.0F}));
  EXPECT_EQ(store_.at("x").gradient.data<float>()[0], 2.5F);
  EXPECT_EQ(store_.at("y.slope").gradient.data<float>()[0], -20.0F);
  EXPECT_EQ(store_.at("y.slope").gradient.data<float>()[1], 0.0F);
}

TEST_F(GoldenLayers, KMapAndItsScalingMatchTorch) {
  build(
      "x = parameter(shape=2x5x6x7)\ny = parameter(shape=2x3x3x4)\n"
      "k = k_map(x, kernel=3, stride=2, pad=1)\nscaled = scale_map(y, k)\n");
  set("x", "k_map/x");
  set("y", "k_map/y");
  expect_near(forward(), golden("k_map/scaled"), "scaled");
  network_->backward(golden("k_map/dscaled"));
  expect_near(store_.at("x").gradient, golden("k_map/dx"), "dx");
  expect_near(store_.at("y").gradient, golden("k_map/dy"), "dy");
}

// [N, C]: one mean an image. 0 has no side, so no gradient.
TEST_F(GoldenLayers, KMapOfARowIsItsMeanMagnitude) {
  build("x = parameter(shape=1x4)\nk = k_map(x)\n");
  copy(make_tensor<float>(Shape{1, 4}, std::vector<float>{1.0F, -2.0F, 0.0F, 5.0F}),
       store_.at("x").value);
  EXPECT_EQ(forward().data<float>()[0], 2.0F);
  network_->backward(make_tensor<float>(Shape{1, 1}, std::vector<float>{8.0F}));
  const auto dx = store_.at("x").gradient.span<float>();
  EXPECT_EQ(std::vector<float>(dx.begin(), dx.end()), (std::vector<float>{2, -2, 0, 2}));
}

TEST_F(GoldenLayers, ScaleMapWantsAMapOfItsInput) {
  EXPECT_ERROR(ShapeError,
               build("y = parameter(shape=2x3x3x4)\nk = parameter(shape=2x1x3x3)\n"
                     "scaled = scale_map(y, k)\n"),
               "scaled: expected a map [2, 1, 3, 4]", "[2, 1, 3, 3]");
}

TEST_F(GoldenLayers, ShiftBatchNormMatchesItsAlgorithm) {
  build("x = parameter(shape=6x5x3x3)\ny = shift_batch_norm(x, momentum=1)\n");
  set("x", "shift_batch_norm/x");
  set("y.gamma", "shift_batch_norm/gamma");
  set("y.beta", "shift_batch_norm/beta");
  expect_near(forward(), golden("shift_batch_norm/y"), "y");
  expect_near(store_.at("y.running_mean").value, golden("shift_batch_norm/mean"), "mean");
  for (std::int64_t c = 0; c < 5; ++c) {
    EXPECT_NEAR(store_.at("y.running_var").value.data<float>()[c],
                golden("shift_batch_norm/variance").data<float>()[c] * 54.0F / 53.0F, 1e-5);
  }
  network_->backward(golden("shift_batch_norm/dy"));
  expect_near(store_.at("x").gradient, golden("shift_batch_norm/dx"), "dx");
  expect_near(store_.at("y.gamma").gradient, golden("shift_batch_norm/dgamma"), "dgamma");
  expect_near(store_.at("y.beta").gradient, golden("shift_batch_norm/dbeta"), "dbeta");
}

// sqrt(2) lies between 1.41421354 and 1.41421366: the first goes to 1, the second to 2.
TEST(NearestPowerOfTwo, RoundsTheLogarithm) {
  using kernels::nearest_power_of_two;
  EXPECT_EQ(nearest_power_of_two(1.41421354F), 1.0F);
  EXPECT_EQ(nearest_power_of_two(1.41421366F), 2.0F);
  EXPECT_EQ(nearest_power_of_two(-3.0F), -4.0F);
  EXPECT_EQ(nearest_power_of_two(0.3F), 0.25F);
  EXPECT_EQ(nearest_power_of_two(0.0F), 0.0F);
  EXPECT_EQ(nearest_power_of_two(0x1p-100F), 0x1p-100F);
  EXPECT_TRUE(std::isnan(nearest_power_of_two(std::nanf(""))));
}

}  // namespace
}  // namespace bitloom::layers
