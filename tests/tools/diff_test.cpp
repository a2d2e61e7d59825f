// Where two executions part.
#include "diff.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "support/error_matchers.h"

namespace bitloom::tools {
namespace {

LayerValues layer(const char* name, const std::vector<float>& values, double step = 0.0) {
  Tensor tensor(DType::kF32, Shape{static_cast<std::int64_t>(values.size()) / 3, 3});
  std::copy(values.begin(), values.end(), tensor.data<float>());
  return {.layer = name, .op = "conv2d", .values = std::move(tensor), .step = step};
}

Execution execution(const char* label, std::vector<LayerValues> layers) {
  return {.label = label, .layers = std::move(layers)};
}

std::vector<LayerValues> list(LayerValues a, LayerValues b) {
  std::vector<LayerValues> out;
  out.push_back(std::move(a));
  out.push_back(std::move(b));
  return out;
}

TEST(Diff, FindsTheFirstLayerAndChannelAndTheWorst) {
  const Execution a = execution(
      "a", list(layer("conv1", {1, 2, 3, 4, 5, 6}), layer("conv2", {1, 1, 1, 2, 2, 2}, 0.5)));
  const Execution b = execution(
      "b", list(layer("conv1", {1, 2, 3, 4, 5, 6}), layer("conv2", {1, 1.5, 1, 2, 2, 0}, 0.25)));
  const std::vector<LayerDifference> found = compare_executions(a, b, 0.0);
  ASSERT_EQ(found.size(), 2U);
  EXPECT_EQ(first_divergence(found), 1);
  EXPECT_EQ(found[0].differing, 0);
  EXPECT_EQ(found[0].worst_channel, -1);
  EXPECT_TRUE(std::isinf(found[0].sqnr_db));
  EXPECT_TRUE(std::isnan(found[0].largest_steps));
  const LayerDifference& second = found[1];
  EXPECT_EQ(second.differing, 2);
  EXPECT_EQ(second.first_channel, 1);
  EXPECT_EQ(second.worst_channel, 2);
  EXPECT_DOUBLE_EQ(second.largest, 2.0);
  EXPECT_DOUBLE_EQ(second.largest_steps, 4.0) << "of the coarser grid";
  EXPECT_DOUBLE_EQ(second.worst_a, 2.0);
  EXPECT_DOUBLE_EQ(second.worst_b, 0.0);
  EXPECT_NEAR(second.sqnr_db, 10.0 * std::log10(15.0 / 4.25), 1e-9);
}

TEST(Diff, ToleranceIsAShareOfTheLargestValue) {
  const Execution a = execution("a", list(layer("x", {10, 0, 0}), layer("y", {1, 0, 0})));
  const Execution b = execution("b", list(layer("x", {10, 0.1F, 0}), layer("y", {1, 0.1F, 0})));
  const std::vector<LayerDifference> found = compare_executions(a, b, 0.02);
  EXPECT_EQ(found[0].differing, 0);
  EXPECT_EQ(found[0].worst_channel, 1) << "still said";
  EXPECT_EQ(found[1].differing, 1);
  EXPECT_EQ(first_divergence(found), 1);
  EXPECT_EQ(first_divergence(compare_executions(a, b, 0.2)), -1);
}

TEST(Diff, ANanDiffers) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const Execution a = execution("a", list(layer("x", {1, 2, 3}), layer("y", {1, 2, 3})));
  const Execution b = execution("b", list(layer("x", {1, 2, nan}), layer("y", {1, 2, 3})));
  const std::vector<LayerDifference> found = compare_executions(a, b, 0.5);
  EXPECT_EQ(found[0].differing, 1);
  EXPECT_EQ(found[0].first_channel, 2);
  EXPECT_EQ(found[0].worst_channel, 2);
}

TEST(Diff, RefusesOtherNetworks) {
  const Execution a = execution("a", list(layer("x", {1, 2, 3}), layer("y", {1, 2, 3})));
  const Execution b = execution("b", list(layer("p", {1, 2, 3}), layer("q", {1, 2, 3})));
  EXPECT_ERROR(ConfigError, compare_executions(a, b, 0.0), "none in a and b");
  const Execution c = execution("c", list(layer("x", {1, 2, 3, 4, 5, 6}), layer("y", {1, 2, 3})));
  EXPECT_ERROR(ShapeError, compare_executions(a, c, 0.0), "layer x");
}

}  // namespace
}  // namespace bitloom::tools
