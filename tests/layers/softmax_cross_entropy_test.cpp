#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/parallel.h"
#include "bitloom/layers/network.h"
#include "layers/random_parameters.h"
#include "support/error_matchers.h"
#include "support/reference_ops.h"
#include "support/tensor_matchers.h"

namespace bitloom::layers {
namespace {

// Row 0: equal logits, so -log(1/2). Row 1: odds 3 to 1 by log 3, so -log(1/4).
TEST(SoftmaxCrossEntropy, MatchesHandWorkedRows) {
  const Tensor logits = matrix({{7, 7}, {std::log(3.0F), 0}});
  Tensor gradient = like(logits);
  const std::vector<std::int32_t> labels{0, 1};
  EXPECT_NEAR(softmax_cross_entropy(logits, labels, gradient), (std::log(2.0) + std::log(4.0)) / 2,
              1e-7);
  EXPECT_THAT(gradient, TensorNear(matrix({{-0.25F, 0.25F}, {0.375F, -0.375F}}), 1e-7));
}

// 700 rows of 33 classes: more than one block, and a piece for each thread.
TEST(SoftmaxCrossEntropy, AgreesWithDoubleReferenceOnAnyThreadCount) {
  Tensor logits(DType::kF32, {700, 33});
  fill_normal(logits, "logits", 0.0F, 4.0F);
  std::vector<std::int32_t> labels;
  for (std::int32_t n = 0; n < 700; ++n) labels.push_back(n * 7 % 33);
  reference::Array<double> wanted(logits.shape());
  const double loss =
      reference::softmax_cross_entropy(reference::Array<double>(logits.view()), labels, wanted);

  const int before = threads();
  Tensor first = like(logits), second = like(logits);
  set_threads(1);
  const double one = softmax_cross_entropy(logits, labels, first);
  set_threads(2);
  const double two = softmax_cross_entropy(logits, labels, second);
  set_threads(before);
  EXPECT_EQ(one, two);
  EXPECT_THAT(second, TensorEq(first));
  EXPECT_NEAR(one, loss, 1e-6 * loss);
  for (std::int64_t i = 0; i < first.elements(); ++i) {
    ASSERT_NEAR(first.data<float>()[i], wanted[i], 1e-6 / 700) << i;
  }
}

TEST(SoftmaxCrossEntropy, LargeLogitsDoNotOverflow) {
  const Tensor logits = matrix({{1e4F, -1e4F}});
  Tensor gradient = like(logits);
  EXPECT_DOUBLE_EQ(softmax_cross_entropy(logits, std::vector<std::int32_t>{1}, gradient), 2e4);
  EXPECT_THAT(gradient, TensorNear(matrix({{1, -1}}), 1e-7));
}

TEST(SoftmaxCrossEntropy, RefusesWhatDoesNotFit) {
  const Tensor logits = matrix({{1, 2}, {3, 4}});
  Tensor gradient = like(logits);
  Tensor narrow(DType::kF32, {2, 1});
  using Labels = std::vector<std::int32_t>;
  EXPECT_ERROR(ShapeError, softmax_cross_entropy(logits, Labels{0}, gradient), "2 labels, found 1");
  EXPECT_ERROR(ShapeError, softmax_cross_entropy(logits, Labels{0, 2}, gradient),
               "labels of 0 to 1, found 2 in row 1");
  EXPECT_ERROR(ShapeError, softmax_cross_entropy(logits, Labels{-1, 0}, gradient), "found -1");
  EXPECT_ERROR(ShapeError, softmax_cross_entropy(logits, Labels{0, 0}, narrow), "gradient [2, 2]");
}

}  // namespace
}  // namespace bitloom::layers
