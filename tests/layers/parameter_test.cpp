#include "bitloom/layers/parameter.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"
#include "support/tensor_matchers.h"

namespace bitloom::layers {
namespace {

constexpr Initializer kHe{.kind = Initializer::Kind::kHeNormal};

TEST(ParameterStore, ValuesDependOnSeedNameAndShapeAlone) {
  ParameterStore first(7), second(7), other(8);
  second.declare("before", {4, 4}, Role::kWeight, kHe);
  const Tensor& value = first.declare("w", {8, 3, 5, 5}, Role::kWeight, kHe).value;
  EXPECT_THAT(second.declare("w", {8, 3, 5, 5}, Role::kWeight, kHe).value, TensorEq(value));
  EXPECT_NE(other.declare("w", {8, 3, 5, 5}, Role::kWeight, kHe).value.data<float>()[0],
            value.data<float>()[0]);
  EXPECT_NE(first.declare("v", {8, 3, 5, 5}, Role::kWeight, kHe).value.data<float>()[0],
            value.data<float>()[0]);
}

// fan_in = 3*5*5 = 75. The deviation of 4800 draws has a relative error of 1 / sqrt(9600) = 0.01;
// 0.04 are four of them.
TEST(ParameterStore, HeNormalHasItsDeviation) {
  ParameterStore store(1);
  const auto values = store.declare("w", {64, 3, 5, 5}, Role::kWeight, kHe).value.span<float>();
  double sum = 0.0, squares = 0.0;
  for (const float value : values) {
    sum += static_cast<double>(value);
    squares += static_cast<double>(value) * static_cast<double>(value);
  }
  const auto count = static_cast<double>(values.size());
  const double deviation = std::sqrt(2.0 / 75.0);
  EXPECT_NEAR(sum / count, 0.0, 4.0 * deviation / std::sqrt(count));
  EXPECT_NEAR(std::sqrt(squares / count), deviation, 0.04 * deviation);
}

TEST(ParameterStore, DeclaringAgainGivesTheSameParameter) {
  ParameterStore store(1);
  Parameter& gamma = store.declare("g", {3}, Role::kNormScale, {.constant = 1.0F});
  EXPECT_THAT(gamma.value, TensorEq(vector_of({1, 1, 1})));
  gamma.value.data<float>()[1] = 5.0F;
  for (int i = 0; i < 100; ++i) store.declare(cat("p", i), {2}, Role::kBias, {});
  EXPECT_EQ(&store.declare("g", {3}, Role::kNormScale, {.constant = 9.0F}), &gamma);
  EXPECT_EQ(gamma.value.data<float>()[1], 5.0F);
  EXPECT_ERROR(ShapeError, store.declare("g", {4}, Role::kNormScale, {}),
               "g: expected norm_scale [4], found norm_scale [3]");
  EXPECT_ERROR(ShapeError, store.declare("g", {3}, Role::kBias, {}), "expected bias [3]");
}

TEST(ParameterStore, OnlyTrainableParametersHaveGradients) {
  ParameterStore store(1);
  EXPECT_EQ(store.declare("w", {2, 2}, Role::kWeight, {}).gradient.shape(), (Shape{2, 2}));
  EXPECT_TRUE(store.declare("m", {2}, Role::kStatistic, {}).gradient.empty());
  EXPECT_TRUE(store.declare("q", {2}, Role::kQuantizerState, {}).gradient.empty());
  EXPECT_FALSE(store.declare("s", {2}, Role::kQuantizerScale, {}).gradient.empty());
}

TEST(ParameterStore, MissingParameterIsAnError) {
  ParameterStore store(1);
  EXPECT_ERROR(ConfigError, store.at("conv9.weight"), "expected a parameter conv9.weight");
}

TEST(Role, WordsReadBack) {
  int count = 0;
  for (const Role role : {Role::kWeight, Role::kBias, Role::kNormScale, Role::kNormShift,
                          Role::kStatistic, Role::kQuantizerScale, Role::kQuantizerState}) {
    EXPECT_EQ(role_from_word(to_word(role)), role);
    ++count;
  }
  EXPECT_EQ(count, 7);
  EXPECT_ERROR(FormatError, role_from_word("colour"), "expected one of weight, bias", "'colour'");
}

}  // namespace
}  // namespace bitloom::layers
