// Sessions on bf16 numbers, and sessions that own their model.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/hand_models.h"
#include "bitloom/backends/session.h"
#include "bitloom/core/cpu.h"
#include "bitloom/kernels/bf16_convert.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"

namespace bitloom::backends {
namespace {

using integer::ComputeMode;
using integer::Model;
using testing::HasSubstr;

Tensor images_for(const Model& model, std::int64_t batch) {
  return integer::random_images(model.tensors.front().shape.with_batch(batch), 11);
}

Tensor run(Session& session, const Model& model, const Tensor& images) {
  Tensor logits(DType::kF32, Shape{images.shape().n(), model.classes()});
  session.run(images, logits);
  return logits;
}

double largest(ConstTensorView values) {
  double out = 0.0;
  for (const float value : values.span<float>()) {
    out = std::max(out, std::abs(static_cast<double>(value)));
  }
  return out;
}

double largest_difference(ConstTensorView a, ConstTensorView b) {
  double out = 0.0;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    out = std::max(out, std::abs(static_cast<double>(a.data<float>()[i]) -
                                 static_cast<double>(b.data<float>()[i])));
  }
  return out;
}

bool same_bytes(ConstTensorView a, ConstTensorView b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

// A bf16 number has 8 bits of mantissa: each of the handful of layers adds about 2^-9 of noise.
TEST(Bf16Session, AgreesWithFloatWithinTheRoundingOfBf16) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products here";
  int compared = 0;
  for (const ComputeMode mode : {ComputeMode::kFloat, ComputeMode::kWeightOnly}) {
    for (const Model& model : integer::hand_models("int8", mode)) {
      for (const std::int64_t batch : {1, 3}) {
        const Tensor images = images_for(model, batch);
        Session bf16(model, {.backend = "onednn-bf16", .batch = batch});
        Session real(model, {.backend = "onednn", .batch = batch});
        const Tensor found = run(bf16, model, images);
        const Tensor expected = run(real, model, images);
        EXPECT_LE(largest_difference(found, expected), 0.03 * largest(expected));
        EXPECT_GT(largest_difference(found, expected), 0.0) << "it ran in f32";
        // oneDNN's AMX kernels pad weights to tiles and keep buffers, more than these models hold.
        if (effective_isa() != Isa::kAvx512Amx) {
          EXPECT_LT(bf16.memory_bytes(), real.memory_bytes());
        }
        ++compared;
      }
    }
  }
  EXPECT_GE(compared, 8);
}

TEST(Bf16Session, EveryTensorButTheLogitsIsBf16) {
  if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products here";
  for (const Model& model : integer::hand_models("int8", ComputeMode::kFloat)) {
    Session session(model, {.backend = "onednn-bf16", .keep_all_tensors = true});
    run(session, model, images_for(model, 1));
    for (std::size_t i = 0; i < model.tensors.size(); ++i) {
      const bool last = i + 1 == model.tensors.size();
      EXPECT_EQ(session.tensor(static_cast<int>(i)).dtype(), last ? DType::kF32 : DType::kBf16)
          << model.tensors[i].name;
    }
    for (const PlanRow& row : session.plan()) {
      EXPECT_THAT(row.implementation, testing::Not(HasSubstr("ref"))) << row.layer;
    }
  }
}

TEST(Bf16Session, DeclinesCodesAndCpusWithoutBf16WithTheirReason) {
  if (has_bf16(effective_isa())) {
    const Model codes = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
    EXPECT_ERROR(BackendError, Session(codes, {.backend = "onednn-bf16"}),
                 "conv1: onednn-bf16: multiplies codes");
    const Model dynamic = integer::small_lenet_model("int8-reduced", ComputeMode::kDynamic);
    EXPECT_ERROR(BackendError,
                 Session(dynamic, {.backend = "onednn-bf16", .fallback_to_reference = true}),
                 "multiplies codes", "reference: computes with f32, not with bf16");
  } else {
    const Model real = integer::small_lenet_model("int8", ComputeMode::kFloat);
    EXPECT_ERROR(BackendError, Session(real, {.backend = "onednn-bf16"}),
                 cat("conv1: onednn-bf16: no bf16 products on ", to_word(effective_isa())));
  }
}

TEST(Bf16SessionCaps, HoldUnderEveryIsaCap) {
  if (std::getenv("BITLOOM_ISA") != nullptr) GTEST_SKIP() << "runs in the uncapped parent";
  for (const Isa isa : isa_caps()) {
    const ChildResult child = run_capped(isa, "Bf16Session.*:OwnedSession.*");
    EXPECT_EQ(child.status, 0) << to_word(isa) << "\n" << child.output;
    EXPECT_THAT(child.output, HasSubstr("PASSED"));
  }
}

std::size_t plain_weight_bytes(const Model& model) {
  std::size_t sum = 0;
  for (const integer::Layer& layer : model.layers) {
    if (!layer.weight.empty()) sum += layer.weight.bytes();
  }
  return sum;
}

TEST(OwnedSession, GivesTheSameLogitsWithoutThePlainWeights) {
  for (const ComputeMode mode : {ComputeMode::kStatic, ComputeMode::kDynamic, ComputeMode::kFloat,
                                 ComputeMode::kWeightOnly}) {
    for (Model& model : integer::hand_models("int8-reduced", mode)) {
      const Tensor images = images_for(model, 3);
      Session borrowed(model, {.batch = 3});
      const Tensor expected = run(borrowed, model, images);
      EXPECT_GT(plain_weight_bytes(model), 0U);
      const std::string network = model.network;
      Session owned(std::move(model), {.batch = 3});
      EXPECT_EQ(plain_weight_bytes(owned.model()), 0U);
      EXPECT_EQ(owned.model().network, network);
      EXPECT_TRUE(same_bytes(run(owned, owned.model(), images), expected));
    }
  }
}

TEST(OwnedSession, KeepsWeightsThatItsKernelsRead) {
  Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
  const std::size_t bytes = plain_weight_bytes(model);
  const Tensor images = images_for(model, 2);
  Session borrowed(model, {.backend = "reference", .batch = 2});
  const Tensor expected = run(borrowed, model, images);
  Session owned(std::move(model), {.backend = "reference", .batch = 2});
  EXPECT_EQ(plain_weight_bytes(owned.model()), bytes);
  EXPECT_TRUE(same_bytes(run(owned, owned.model(), images), expected));
  Session moved = std::move(owned);
  EXPECT_TRUE(same_bytes(run(moved, moved.model(), images), expected));
}

}  // namespace
}  // namespace bitloom::backends
