#include "bitloom/trainers/seeded_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/backends/session.h"
#include "bitloom/core/error.h"
#include "support/error_matchers.h"

namespace bitloom::trainers {
namespace {

Tensor logits_of(const integer::Model& model, const std::string& backend) {
  const Shape& shape = model.tensors.front().shape;
  Tensor images(DType::kU8, shape);
  for (std::int64_t i = 0; i < images.elements(); ++i) {
    images.data<std::uint8_t>()[i] = static_cast<std::uint8_t>(i * 37 % 251);
  }
  Tensor logits(DType::kF32, Shape{1, model.classes()});
  backends::Session(model, {.backend = backend}).run(images, logits);
  return logits;
}

// Logits that are finite and not all the same, from integers that two executors agree on.
TEST(SeededModel, RunsAsEveryMethodOfPostTraining) {
  for (const char* method : {"float", "ptq-static", "ptq-dynamic", "ptq-weight-only"}) {
    const integer::Model model = seeded_model({.network = "resnet8", .method = method});
    EXPECT_EQ(model.method, method);
    EXPECT_EQ(model.network, "resnet8");
    const Tensor logits = logits_of(model, "onednn");
    const auto [least, most] = std::ranges::minmax(logits.span<float>());
    EXPECT_TRUE(std::isfinite(least) && std::isfinite(most)) << method;
    EXPECT_GT(most - least, 1e-3F) << method;
    const Tensor expected = logits_of(model, "reference");
    for (std::int64_t i = 0; i < logits.elements(); ++i) {
      const float tolerance = model.profile.empty() ? 1e-4F * std::abs(most - least) : 0.0F;
      EXPECT_NEAR(logits.data<float>()[i], expected.data<float>()[i], tolerance) << method;
    }
  }
}

// 7 bits where pairs of products are summed in 16.
TEST(SeededModel, FollowsTheProfile) {
  const integer::Model full = seeded_model({.network = "lenet5", .method = "ptq-static"});
  const integer::Model reduced =
      seeded_model({.network = "lenet5", .method = "ptq-static", .profile = "int8-reduced"});
  const auto largest = [](const integer::Model& model) {
    std::int8_t code = 0;
    for (const std::int8_t each : model.layers.front().weight.span<std::int8_t>()) {
      code = std::max(code, each);
    }
    return code;
  };
  EXPECT_EQ(reduced.profile, "int8-reduced");
  EXPECT_LE(largest(reduced), 63);
  if (full.profile != "int8") GTEST_SKIP() << "this CPU's own profile is the reduced one";
  EXPECT_GT(largest(full), 63);
}

TEST(SeededModel, IsTheSameForOneSeedAlone) {
  const auto first_weights = [](std::uint64_t seed) {
    const integer::Model model = seeded_model({.network = "lenet5", .seed = seed});
    const auto values = model.layers.front().weight.span<float>();
    return std::vector<float>(values.begin(), values.end());
  };
  EXPECT_EQ(first_weights(1), first_weights(1));
  EXPECT_NE(first_weights(1), first_weights(2));
}

TEST(SeededModel, RefusesWhatNeedsTraining) {
  EXPECT_ERROR(ConfigError, seeded_model({.network = "lenet5", .method = "qat"}), "--method",
               "'qat'", "the integers of ptq-static");
  EXPECT_ERROR(ConfigError, seeded_model({.network = "lenet6"}), "'lenet6'");
}

}  // namespace
}  // namespace bitloom::trainers
