// Training in bf16 beside training in f32: the same network, the same batches.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "bitloom/core/cpu.h"
#include "bitloom/core/random.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/calibrate.h"
#include "bitloom/quant/passes.h"
#include "bitloom/train/distillation.h"
#include "bitloom/train/step.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::train {
namespace {

constexpr std::int64_t kBatch = 16;
constexpr std::int64_t kClasses = 4;

// Wide enough for bf16: conv2 is strided, conv3 ends in a residual.
layers::Graph graph() {
  return layers::Graph::parse(R"(bitloom-graph 1
input = input(shape=3x12x12)
conv1.weight = parameter(shape=16x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
conv2.weight = parameter(shape=32x16x3x3)
conv2 = conv2d(relu1, conv2.weight, stride=2, pad=1)
bn2 = batch_norm(conv2)
relu2 = relu(bn2)
conv3.weight = parameter(shape=32x32x3x3)
conv3 = conv2d(relu2, conv3.weight, pad=1)
bn3 = batch_norm(conv3)
add1 = add(bn3, relu2)
relu3 = relu(add1)
gap = global_avg_pool(relu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x32)
fc = linear(flatten, fc.weight, bias=1)
)",
                              "wide");
}

// Bi-Real's block order, with ReActNet's rectifiers: what a stream of reals, its signs and their
// sums do. bn2's stream meets a pool, which knows no bf16.
layers::Graph signed_graph() {
  return layers::Graph::parse(R"(bitloom-graph 1
input = input(shape=3x12x12)
conv1.weight = parameter(shape=16x3x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
act1 = hardtanh(bn1)
conv2.weight = parameter(shape=16x16x3x3)
conv2 = conv2d(act1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add1 = add(bn2, bn1)
rprelu1 = rprelu(add1)
act2 = hardtanh(rprelu1)
conv3.weight = parameter(shape=16x16x3x3)
conv3 = conv2d(act2, conv3.weight, pad=1)
bn3 = batch_norm(conv3)
add2 = add(bn3, rprelu1)
pool = avg_pool(add2, kernel=3, stride=2, pad=1)
act3 = hardtanh(add2)
conv4.weight = parameter(shape=16x16x3x3)
conv4 = conv2d(act3, conv4.weight, stride=2, pad=1)
bn4 = batch_norm(conv4)
add3 = add(bn4, pool)
rprelu3 = rprelu(add3)
gap = global_avg_pool(rprelu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x16)
fc = linear(flatten, fc.weight, bias=1)
)",
                              "signed");
}

struct Batch {
  Batch() : images(DType::kF32, {kBatch, 3, 12, 12}) {
    const RandomStream random(4, "images");
    for (std::int64_t i = 0; i < images.elements(); ++i) {
      const std::int64_t label = i / (3 * 12 * 12) % kClasses;
      images.data<float>()[i] =
          random.normal(static_cast<std::uint64_t>(i)) + (i % kClasses == label ? 1.0F : 0.0F);
    }
    for (std::int64_t n = 0; n < kBatch; ++n)
      labels.push_back(static_cast<std::int32_t>(n % kClasses));
  }
  Tensor images;
  std::vector<std::int32_t> labels;
};

struct PrecisionCase {
  const char* method;
  const char* forward;
  double share;            ///< of a gradient's norm that bf16 may move it by
  const char* signs = "";  ///< quantizer of signs, on their graph
};
void PrintTo(const PrecisionCase& what, std::ostream* out) {
  *out << what.method << "_" << what.forward;
  for (const char* c = what.signs; *c != '\0'; ++c) *out << (*c == '-' ? '_' : *c);
}

struct Training {
  Training(const PrecisionCase& of, const std::string& precision, const Batch& batch)
      : checkpoint(5) {
    const std::string method = of.method;
    const bool signs = *of.signs != '\0';
    checkpoint.network = "wide";
    checkpoint.method = method;
    checkpoint.graph = signs ? signed_graph() : graph();
    const layers::Network declared(checkpoint.graph, layers::float_layers(), checkpoint.parameters,
                                   {.batch = kBatch});
    if (method == "qat") {
      quant::QuantOptions quantization{.method = method};
      if (signs) {
        quantization.quantizer = of.signs;
        quantization.weight_bits = 1;
        quantization.activation_bits = 1;
      }
      const layers::Graph inserted = quant::insert_fake_quant(checkpoint.graph, quantization,
                                                              integer::profile_named("int8"), true);
      checkpoint.graph =
          quant::calibrate(inserted, checkpoint.parameters,
                           [&](const auto& use) { use(batch.images.view()); }, kBatch, {});
    }
    options.batch = kBatch;
    options.precision = precision;
    step = std::make_unique<TrainingStep>(checkpoint, options, of.forward, kClasses);
  }
  double run(const Batch& batch, std::int64_t index) {
    return step->run(batch.images, batch.labels, {.lr = 0.05, .momentum = 0.9, .step = index}).loss;
  }
  Checkpoint checkpoint;
  TrainOptions options;
  std::unique_ptr<TrainingStep> step;
};

double norm(ConstTensorView tensor) {
  double sum = 0.0;
  for (const float value : tensor.span<float>())
    sum += static_cast<double>(value) * static_cast<double>(value);
  return std::sqrt(sum);
}

double distance(ConstTensorView a, ConstTensorView b) {
  double sum = 0.0;
  for (std::int64_t i = 0; i < a.elements(); ++i) {
    const double d =
        static_cast<double>(a.data<float>()[i]) - static_cast<double>(b.data<float>()[i]);
    sum += d * d;
  }
  return std::sqrt(sum);
}

class PrecisionTest : public testing::TestWithParam<PrecisionCase> {
 protected:
  void SetUp() override {
    if (!has_bf16(effective_isa())) GTEST_SKIP() << "no bf16 products";
  }
};

// bf16 keeps 8 bits, so a number is off by at most 2^-8. Where the forward pass runs on integers,
// it is the same in both, and a gradient moves by less than 2 % of its norm. Where it runs in bf16,
// outputs move by 0.3 % of their deviation, so some of a thousand change their side of ReLU, or
// their code: as whole terms of a gradient, they move it by the root of their share.
TEST_P(PrecisionTest, TwoStepsStayCloseToF32) {
  const Batch batch;
  Training single(GetParam(), "f32", batch);
  Training half(GetParam(), "bf16", batch);
  const double first = single.run(batch, 0);
  EXPECT_NEAR(half.run(batch, 0), first, 0.01 * first);
  int compared = 0;
  bool differs = false;
  for (const auto& [name, parameter] : single.checkpoint.parameters.all()) {
    const bool rectifies = name.starts_with("rprelu") || name.ends_with(".q.threshold");
    if (parameter.role != layers::Role::kWeight && !rectifies) continue;
    const Tensor& other = half.checkpoint.parameters.at(name).gradient;
    EXPECT_GT(norm(parameter.gradient), 0.0) << name;
    EXPECT_LT(distance(parameter.gradient, other), GetParam().share * norm(parameter.gradient))
        << name;
    differs |= std::memcmp(parameter.gradient.raw(), other.raw(), other.bytes()) != 0;
    ++compared;
  }
  EXPECT_GE(compared, 4);
  EXPECT_TRUE(differs) << "bf16 ran nowhere";
  const double second = single.run(batch, 1);
  EXPECT_LT(second, first);
  EXPECT_NEAR(half.run(batch, 1), second, 0.02 * first);
}

TEST_P(PrecisionTest, RepeatsBitForBit) {
  const Batch batch;
  Training a(GetParam(), "bf16", batch);
  Training b(GetParam(), "bf16", batch);
  for (std::int64_t i = 0; i < 3; ++i) EXPECT_EQ(a.run(batch, i), b.run(batch, i));
  for (const auto& [name, parameter] : a.checkpoint.parameters.all()) {
    const Tensor& other = b.checkpoint.parameters.at(name).value;
    EXPECT_EQ(std::memcmp(parameter.value.raw(), other.raw(), other.bytes()), 0) << name;
  }
}

TEST_P(PrecisionTest, TeachersAnswerCloseToF32) {
  const Batch batch;
  Training single(GetParam(), "f32", batch);
  Training half(GetParam(), "f32", batch);
  Teacher exact(std::move(single.checkpoint), kBatch);
  Teacher rough(std::move(half.checkpoint), kBatch, kernels::Precision::kBf16);
  const ConstTensorView expected = exact.answer(batch.images);
  const ConstTensorView answer = rough.answer(batch.images);
  EXPECT_LT(distance(answer, expected), 0.05 * norm(expected));
  EXPECT_NE(std::memcmp(answer.raw(), expected.raw(), expected.bytes()), 0) << "bf16 ran nowhere";
}

INSTANTIATE_TEST_SUITE_P(Methods, PrecisionTest,
                         testing::Values(PrecisionCase{"float", "float", 0.1},
                                         PrecisionCase{"qat", "integer", 0.02},
                                         PrecisionCase{"qat", "float", 0.1},
                                         PrecisionCase{"qat", "integer", 0.02, "bi-real"},
                                         PrecisionCase{"qat", "integer", 0.02, "reactnet"}),
                         testing::PrintToStringParamName());

TEST(Checkpoint, KeepsThePrecisionOfItsRun) {
  Checkpoint checkpoint(5);
  checkpoint.graph = graph();
  checkpoint.environment = current_environment("bf16");
  const TempDir dir;
  const auto file = dir.path() / "checkpoint.h5";
  save_checkpoint(file, checkpoint);
  EXPECT_EQ(io::load_archive(file).word("", "precision"), "bf16");
  EXPECT_EQ(load_checkpoint(file).environment.precision, "bf16");

  // Files from before the key were all trained in f32.
  Archive old = io::load_archive(file);
  Archive without(old.schema_name(), old.schema_version());
  for (const auto& [path, attributes] : old.attributes()) {
    for (const auto& [name, value] : attributes) {
      if (name != "precision") without.put_attribute(path, name, value);
    }
  }
  without.put_text("graph", old.text("graph"));
  without.put_text("config", old.text("config"));
  EXPECT_EQ(checkpoint_from_archive(without).environment.precision, "f32");
}

}  // namespace
}  // namespace bitloom::train
