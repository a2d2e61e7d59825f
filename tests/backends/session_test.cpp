// Whole models: oneDNN against the reference executor, every tensor, bit for bit.
#include "bitloom/backends/session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <iostream>

#include "backends/hand_models.h"
#include "bitloom/core/cpu.h"
#include "bitloom/core/parallel.h"
#include "bitloom/integer/dynamic.h"
#include "bitloom/integer/reference.h"
#include "bitloom/kernels/fake_quant.h"
#include "bitloom/kernels/int8_product.h"
#include "support/error_matchers.h"
#include "support/isa_children.h"

namespace bitloom::backends {
namespace {

using integer::ComputeMode;
using integer::Model;
using testing::HasSubstr;

/// Profiles that this process's CPU cap runs exactly.
std::vector<std::string> exact_profiles() {
  std::vector<std::string> names;
  for (const integer::DeviceProfile& profile : integer::all_profiles()) {
    if (profile.name == "fixed-point") continue;  // for a mode of its own
    if (profile_objection(profile, effective_isa()).empty()) names.push_back(profile.name);
  }
  return names;
}

/// The modes that multiply integers: every bit has one right value.
constexpr ComputeMode kExactModes[] = {ComputeMode::kStatic, ComputeMode::kDynamic};

std::vector<Model> exact_models() {
  std::vector<Model> models;
  for (const std::string& profile : exact_profiles()) {
    for (const ComputeMode mode : kExactModes) {
      for (Model& model : integer::hand_models(profile, mode)) models.push_back(std::move(model));
    }
  }
  return models;
}

bool same_bytes(ConstTensorView a, ConstTensorView b) {
  return a.bytes() == b.bytes() && std::memcmp(a.raw(), b.raw(), a.bytes()) == 0;
}

Tensor images_for(const Model& model, std::int64_t batch) {
  return integer::random_images(model.tensors.front().shape.with_batch(batch), 11);
}

Tensor run(Session& session, const Model& model, const Tensor& images) {
  Tensor logits(DType::kF32, Shape{images.shape().n(), model.classes()});
  session.run(images, logits);
  return logits;
}

/// Codes of a tensor take several values: a dead layer would make any comparison pass.
int distinct_values(ConstTensorView tensor) {
  std::vector<std::string> seen;
  const std::size_t size = size_of(tensor.dtype());
  for (std::int64_t i = 0; i < tensor.elements(); ++i) {
    seen.emplace_back(static_cast<const char*>(tensor.raw()) + static_cast<std::size_t>(i) * size,
                      size);
  }
  std::sort(seen.begin(), seen.end());
  return static_cast<int>(std::unique(seen.begin(), seen.end()) - seen.begin());
}

TEST(Session, OnednnEqualsReferenceInEveryTensor) {
  int compared = 0;
  for (const Model& model : exact_models()) {
    for (const std::int64_t batch : {1, 3}) {
      const Tensor images = images_for(model, batch);
      Session onednn(model, {.backend = "onednn", .batch = batch, .keep_all_tensors = true});
      Session reference(model, {.backend = "reference", .batch = batch, .keep_all_tensors = true});
      const Tensor a = run(onednn, model, images);
      const Tensor b = run(reference, model, images);
      EXPECT_TRUE(same_bytes(a, b));
      for (int i = 0; i < static_cast<int>(model.tensors.size()); ++i) {
        const std::string& name = model.tensors[static_cast<std::size_t>(i)].name;
        EXPECT_TRUE(same_bytes(onednn.tensor(i), reference.tensor(i))) << model.profile << name;
        EXPECT_GT(distinct_values(reference.tensor(i)), 8) << name;
        ++compared;
      }
    }
  }
  std::cout << "compared " << compared << " tensors\n";
  EXPECT_GE(compared, 72);
}

TEST(Session, ClockSeesEveryLayerAndChangesNoBit) {
  const Model model = integer::small_residual_model("int8-reduced", ComputeMode::kStatic);
  const Tensor images = images_for(model, 2);
  Session session(model, {.backend = "reference", .batch = 2});
  const Tensor plain = run(session, model, images);
  Tensor logits(DType::kF32, plain.shape());
  LapClock clock(model.layers.size());
  clock.start();
  session.run(images, logits, &clock);
  EXPECT_TRUE(same_bytes(logits, plain));
  for (std::size_t i = 0; i < model.layers.size(); ++i) {
    EXPECT_GT(clock.ms(i, Lap::kForward), 0.0) << model.layers[i].name;
  }
  EXPECT_GT(clock.outside_ms(Lap::kData), 0.0) << "pixels to codes";
}

TEST(Session, SharedMemoryGivesTheSameLogits) {
  int compared = 0;
  for (const Model& model : exact_models()) {
    for (const char* backend : {"onednn", "reference"}) {
      const Tensor images = images_for(model, 3);
      Session shared(model, {.backend = backend, .batch = 3});
      Session separate(model, {.backend = backend, .batch = 3, .keep_all_tensors = true});
      EXPECT_LT(shared.memory_bytes(), separate.memory_bytes());
      EXPECT_TRUE(shared.tensor(0).empty());
      const Tensor expected = run(separate, model, images);
      EXPECT_TRUE(same_bytes(run(shared, model, images), expected)) << backend;
      EXPECT_TRUE(same_bytes(run(shared, model, images), expected)) << backend << ", second run";
      ++compared;
    }
  }
  EXPECT_GE(compared, 8);
}

TEST(Session, FewerImagesThanTheBatchAndOtherBatchesAgree) {
  for (const ComputeMode mode : kExactModes) {
    const Model model = integer::small_residual_model("int8-reduced", mode);
    const Tensor images = images_for(model, 5);
    Session five(model, {.batch = 5});
    Session eight(model, {.batch = 8});
    Session one(model, {.batch = 1});
    const Tensor expected = run(five, model, images);
    EXPECT_TRUE(same_bytes(run(eight, model, images), expected));
    for (std::int64_t i = 0; i < 5; ++i) {
      Tensor image(DType::kU8, images.shape().with_batch(1));
      std::memcpy(image.raw(), images.data<std::uint8_t>() + i * image.elements(), image.bytes());
      const Tensor row = run(one, model, image);
      EXPECT_EQ(std::memcmp(row.raw(), expected.data<float>() + i * 10, row.bytes()), 0) << i;
    }
  }
}

TEST(Session, IsTheSameForOneAndTwoThreads) {
  const int before = threads();
  for (const ComputeMode mode : kExactModes) {
    const Model model = integer::small_residual_model("int8-reduced", mode);
    const Tensor images = images_for(model, 3);
    for (const char* backend : {"onednn", "reference"}) {
      Tensor found[2];
      for (const int count : {1, 2}) {
        set_threads(count);
        Session session(model, {.backend = backend, .batch = 3});
        found[count - 1] = run(session, model, images);
      }
      EXPECT_TRUE(same_bytes(found[0], found[1])) << backend;
    }
  }
  set_threads(before);
}

/// Sums of a dynamic layer by the kernels that the oneDNN backend puts together.
Tensor kernel_sums(const integer::Layer& layer, ConstTensorView source, const Shape& output) {
  const integer::AffineFormat& format = layer.source_format;
  const std::int64_t images = source.shape().n();
  const std::int64_t size = source.elements() / images;
  std::vector<kernels::MinMax> ranges(static_cast<std::size_t>(images));
  kernels::min_max_rows(source.data<float>(), images, size, ranges.data());
  std::vector<float> scales;
  for (const kernels::MinMax& range : ranges) {
    scales.push_back(integer::dynamic_scale(std::max(-range.min, range.max), format));
  }
  Tensor codes(format.is_signed ? DType::kS8 : DType::kU8, source.shape());
  kernels::quantize(source.data<float>(), {images, size, scales.data(), true, format}, codes.raw());
  kernels::Int8Product product({.source = source.shape(),
                                .source_dtype = codes.dtype(),
                                .source_zero_point = format.zero_point != 0,
                                .weight = layer.weight.shape(),
                                .window = layer.window,
                                .destination_dtype = DType::kS32,
                                .bias = false});
  product.set_weights(layer.weight);
  if (format.zero_point != 0) product.set_source_zero_point(format.zero_point);
  Tensor acc(DType::kS32, output);
  product.run(codes, {}, acc);
  return acc;
}

TEST(Session, DynamicAccumulatorsEqualTheReferences) {
  int compared = 0;
  for (const Model& model : exact_models()) {
    Session session(model, {.backend = "reference", .batch = 3, .keep_all_tensors = true});
    run(session, model, images_for(model, 3));
    for (const integer::Layer& layer : model.layers) {
      if (layer.mode != ComputeMode::kDynamic) continue;
      const ConstTensorView source = session.tensor(layer.inputs[0]);
      const Shape output = session.tensor(layer.output).shape();
      Tensor expected(DType::kS32, output);
      integer::accumulate(model, layer, source, expected);
      EXPECT_TRUE(same_bytes(kernel_sums(layer, source, output), expected)) << layer.name;
      EXPECT_GT(distinct_values(expected), 8) << layer.name;
      ++compared;
    }
  }
  EXPECT_GE(compared, 12);
}

// f32 sums of oneDNN run in another order: 1e-5 of the largest logit covers 300 products a layer.
TEST(Session, FloatModelsAgreeWithinRounding) {
  for (const ComputeMode mode : {ComputeMode::kFloat, ComputeMode::kWeightOnly}) {
    for (const Model& model : integer::hand_models("int8", mode)) {
      const Tensor images = images_for(model, 3);
      Session onednn(model, {.backend = "onednn", .batch = 3});
      Session reference(model, {.backend = "reference", .batch = 3});
      const Tensor a = run(onednn, model, images);
      const Tensor b = run(reference, model, images);
      float largest = 0.0F;
      float difference = 0.0F;
      for (std::int64_t i = 0; i < a.elements(); ++i) {
        largest = std::max(largest, std::abs(b.data<float>()[i]));
        difference = std::max(difference, std::abs(a.data<float>()[i] - b.data<float>()[i]));
      }
      EXPECT_GT(largest, 0.01F);
      EXPECT_LE(difference, 1e-5F * largest);
    }
  }
}

TEST(Session, PlanNamesWhatRunsAndWhyOthersDeclined) {
  const Model model = integer::small_residual_model("int8-reduced", ComputeMode::kStatic);
  const Session session(model, {.backend = "onednn"});
  ASSERT_EQ(session.plan().size(), model.layers.size());
  const PlanRow& stem = session.plan().front();
  EXPECT_EQ(stem.layer, "stem");
  EXPECT_EQ(stem.op, "conv2d");
  EXPECT_EQ(stem.mode, "static");
  EXPECT_EQ(stem.weight_bits, 7);
  EXPECT_EQ(stem.activation_bits, 8);
  EXPECT_EQ(stem.isa, to_word(effective_isa()));
  EXPECT_THAT(stem.declined, HasSubstr("xnor: weights have 7 bits"));
  EXPECT_EQ(session.plan()[1].declined, "");  // a pool: popcount has no say
  for (const PlanRow& row : session.plan()) {
    EXPECT_NE(row.implementation, "");
    EXPECT_NE(row.implementation, "reference");
  }
}

TEST(Session, PlanSaysThatDynamicLayersComputeWithEightBits) {
  const Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kDynamic);
  for (const char* backend : {"onednn", "reference"}) {
    const Session session(model, {.backend = backend});
    EXPECT_EQ(session.plan()[0].mode, "dynamic");
    EXPECT_EQ(session.plan()[0].activation_bits, 8);
    EXPECT_EQ(session.plan()[0].weight_bits, 7);
    if (backend == std::string("onednn")) {
      EXPECT_THAT(session.plan()[0].declined, HasSubstr("xnor: weights have 7 bits"));
    }
    EXPECT_EQ(session.plan()[1].mode, "float");  // a pool
    EXPECT_EQ(session.plan()[1].activation_bits, 32);
  }
  const Model real = integer::small_lenet_model("int8", ComputeMode::kWeightOnly);
  const Session session(real, {.backend = "onednn"});
  EXPECT_EQ(session.plan()[0].mode, "weight-only");
  EXPECT_EQ(session.plan()[0].activation_bits, 32);
  EXPECT_EQ(session.plan()[0].weight_bits, 8);
}

TEST(Session, NamesTheDynamicLayerWhoseSourceOverflowed) {
  Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kDynamic);
  for (float& multiplier : model.layers[0].multiplier.span<float>()) multiplier = 3e38F;
  const Tensor images = images_for(model, 2);
  Tensor logits(DType::kF32, Shape{2, 10});
  for (const char* backend : {"onednn", "reference"}) {
    Session session(model, {.backend = backend, .batch = 2});
    EXPECT_ERROR(NumericError, session.run(images, logits), "layer conv2", "image 0",
                 "finite activations");
  }
}

TEST(Session, BackendsThatCannotRunSayWhyLayerByLayer) {
  const Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
  EXPECT_ERROR(BackendError, Session(model, {.backend = "cudnn"}),
               "conv1: cudnn: built without cuDNN", "fc2: ", "--fallback=reference");
  EXPECT_ERROR(BackendError, Session(model, {.backend = "xnor"}),
               "conv1: xnor: weights have 7 bits");
  EXPECT_ERROR(ConfigError, Session(model, {.backend = "tpu"}), "onednn", "reference", "'tpu'");
  EXPECT_THAT(backend_names(), testing::Contains("cudnn"));

  Session fallback(model, {.backend = "cudnn", .fallback_to_reference = true});
  EXPECT_EQ(fallback.plan().front().implementation, "reference");
  EXPECT_THAT(fallback.plan().front().declined, HasSubstr("built without cuDNN"));
  Session reference(model, {.backend = "reference"});
  const Tensor images = images_for(model, 1);
  EXPECT_TRUE(same_bytes(run(fallback, model, images), run(reference, model, images)));
}

TEST(Session, RefusesWrongImagesAndLogits) {
  const Model model = integer::small_lenet_model("int8-reduced", ComputeMode::kStatic);
  Session session(model, {.batch = 2});
  Tensor logits(DType::kF32, Shape{2, 10});
  EXPECT_ERROR(ShapeError, session.run(Tensor(DType::kU8, Shape{2, 3, 14, 14}), logits),
               "[2, 1, 14, 14]", "[2, 3, 14, 14]");
  EXPECT_ERROR(ShapeError, session.run(Tensor(DType::kU8, Shape{3, 1, 14, 14}), logits),
               "or fewer images");
  EXPECT_ERROR(ShapeError, session.run(Tensor(DType::kU8, Shape{1, 1, 14, 14}), logits),
               "session logits", "[1, 10]");
  EXPECT_ERROR(ConfigError, Session(model, {.batch = 0}), "batch");
}

TEST(SessionProfile, Int8NeedsExactSums) {
  const Model model = integer::small_lenet_model("int8", ComputeMode::kStatic);
  if (has_exact_u8s8(effective_isa())) {
    EXPECT_NO_THROW(Session(model, {.backend = "onednn"}));
  } else {
    EXPECT_ERROR(BackendError, Session(model, {.backend = "onednn"}), "profile int8",
                 "--profile=int8-reduced", to_word(effective_isa()).data());
  }
  EXPECT_NO_THROW(Session(model, {.backend = "reference"}));
}

// Even a model whose profile word lies is not run where it would saturate.
TEST(SessionProfile, WideWeightsDeclineOnNarrowSums) {
  Model model = integer::small_lenet_model("int8", ComputeMode::kStatic);
  model.profile = "int8-reduced";
  if (has_exact_u8s8(effective_isa())) {
    EXPECT_NO_THROW(Session(model, {.backend = "onednn"}));
  } else {
    EXPECT_ERROR(BackendError, Session(model, {.backend = "onednn"}),
                 "conv2: ", "pairs of products reach 64770");
  }
}

TEST(SessionCaps, HoldUnderEveryIsaCap) {
  if (std::getenv("BITLOOM_ISA") != nullptr) GTEST_SKIP() << "runs in the uncapped parent";
  for (const Isa isa : isa_caps()) {
    const ChildResult child = run_capped(isa, "Session.*:SessionProfile.*");
    EXPECT_EQ(child.status, 0) << to_word(isa) << "\n" << child.output;
    EXPECT_THAT(child.output, HasSubstr("compared "));
  }
}

}  // namespace
}  // namespace bitloom::backends
