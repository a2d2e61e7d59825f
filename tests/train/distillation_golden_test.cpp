// Distillation against PyTorch: tools/golden/qat.py, torch 2.
#include <gtest/gtest.h>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/train/distillation.h"
#include "support/error_matchers.h"

namespace bitloom::train {
namespace {

TEST(DistillationGolden, LossAndGradientMatchTorch) {
  const Archive archive = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/qat.h5");
  const auto tensor = [&](const char* word) -> const Tensor& {
    return archive.tensor(cat("distillation/", word));
  };
  const Tensor& logits = tensor("logits");
  std::vector<std::int32_t> labels;
  for (const float label : tensor("labels").span<float>()) {
    labels.push_back(static_cast<std::int32_t>(label));
  }
  Tensor gradient(DType::kF32, logits.shape());
  const double entropy = layers::softmax_cross_entropy(logits, labels, gradient);
  const double loss = distill(logits, tensor("teacher"),
                              {.weight = archive.real("distillation", "weight"),
                               .temperature = archive.real("distillation", "temperature")},
                              entropy, gradient);
  // Both sides add some ten f32 exponentials a row: parts in 2^22.
  EXPECT_NEAR(loss, tensor("loss").data<float>()[0], 2e-6 * loss);
  const auto expected = tensor("gradient").span<float>();
  for (std::size_t i = 0; i < expected.size(); ++i) {
    EXPECT_NEAR(gradient.span<float>()[i], expected[i], 2e-7F) << i;
  }
}

TEST(Distillation, OfAnEqualTeacherLeavesTheLabelsShare) {
  const Tensor logits = make_tensor<float>(Shape{1, 3}, std::vector<float>{1, 3, -2});
  Tensor gradient = make_tensor<float>(Shape{1, 3}, std::vector<float>{4, -8, 4});
  EXPECT_DOUBLE_EQ(distill(logits, logits, {.weight = 0.25, .temperature = 2}, 2.0, gradient), 1.5);
  EXPECT_EQ(gradient.data<float>()[1], -6.0F);
  Tensor other(DType::kF32, Shape{1, 4});
  EXPECT_ERROR(ShapeError, distill(logits, other, {.weight = 0.5}, 2.0, gradient), "[1, 4]");
}

}  // namespace
}  // namespace bitloom::train
