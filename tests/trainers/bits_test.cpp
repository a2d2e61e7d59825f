// Noise, mixed widths and their choice through the commands, on a tiny synthetic task.
#include "bitloom/trainers/bits.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "bitloom/datasets/normalization.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/quant/layer_bits.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "support/error_matchers.h"
#include "support/post_training_task.h"

namespace bitloom::trainers {
namespace {

constexpr const char* kNet = R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=8x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=8x8x3x3)
conv2 = conv2d(pool1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add1 = add(bn2, pool1)
relu2 = relu(add1)
conv3.weight = parameter(shape=16x8x3x3)
conv3 = conv2d(relu2, conv3.weight, pad=1, stride=2)
bn3 = batch_norm(conv3)
relu3 = relu(bn3)
gap = global_avg_pool(relu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x16)
fc = linear(flatten, fc.weight, bias=1)
)";

class Bits : public PostTrainingTask {
 protected:
  Bits()
      : PostTrainingTask(kNet, {"data.synthetic_test_images=100", "train.epochs=2",
                                "train.qat_epochs=1", "quant.weight_bits=8"}) {}

  NoiseRequest request(const Overrides& options) {
    Overrides all = {"quant.method=ptq-static"};
    all.insert(all.end(), options.begin(), options.end());
    return {.checkpoint = float_checkpoint(), .config = config(all), .images = 64};
  }

  // Share of the test images on which reference and oneDNN give the same bits, after the disk.
  double parity(const train::Checkpoint& checkpoint, integer::Model* model = nullptr) {
    const Config with = config({"quant.method=float"});
    const datasets::ImageSet images = datasets::load_dataset(with.data).test;
    const std::filesystem::path file = dir("model.h5");
    io::save_archive(file, integer::to_archive(train::lower_checkpoint(
                               checkpoint, datasets::normalization_table(with.data, 1))));
    integer::Model loaded = integer::model_from_archive(io::load_archive(file));
    const double share = train::identical_share(
        train::model_logits(loaded, {.backend = "reference", .batch = 50}, images),
        train::model_logits(loaded, {.backend = "onednn", .batch = 50}, images));
    if (model != nullptr) *model = std::move(loaded);
    return share;
  }
};

TEST_F(Bits, MixedWidthsArePackedAndRunAlikeEverywhere) {
  const train::Checkpoint checkpoint =
      quantized({"quant.layer_bits=input=-/7,conv1=3/5,conv2=2/4,conv3=6/3,fc=5/-"});
  integer::Model model;
  EXPECT_EQ(parity(checkpoint, &model), 1.0);
  std::map<std::string, int> bits;
  for (const integer::Layer& layer : model.layers) bits[layer.name] = layer.weight_bits;
  EXPECT_EQ(bits["conv1"], 3);
  EXPECT_EQ(bits["conv2"], 2);
  EXPECT_EQ(bits["conv3"], 6);
  EXPECT_EQ(bits["fc"], 5);
  for (const integer::TensorInfo& tensor : model.tensors) {
    if (tensor.name == "relu2.q") {
      EXPECT_EQ(tensor.format.bits, 4);
    }
  }
}

TEST_F(Bits, AutoTakesFewerThanEqualWidthsAtTheirSqnr) {
  const AllocationReport report =
      allocate_bits(request({"quant.weight_bits=5", "quant.activation_bits=5"}), true);
  ASSERT_EQ(report.methods.size(), 3U);
  const AllocationSummary& equal = report.methods[0];
  const AllocationSummary& mixed = report.methods[1];
  const AllocationSummary& greedy = report.methods[2];
  EXPECT_DOUBLE_EQ(equal.average_weight_bits, 5.0);
  EXPECT_DOUBLE_EQ(equal.average_activation_bits, 5.0);
  EXPECT_NEAR(equal.bit_operations_ratio, 25.0 / 64.0, 1e-12);
  EXPECT_LT(mixed.average_weight_bits + mixed.average_activation_bits, 9.8);
  EXPECT_GE(mixed.measured_db, equal.measured_db);
  EXPECT_LT(mixed.measured_db, equal.measured_db + 1.0);
  EXPECT_NEAR(mixed.measured_db, mixed.predicted_db, 3.0);
  EXPECT_GE(greedy.measured_db, equal.measured_db);

  const train::Checkpoint checkpoint =
      quantized({"quant.bits=auto", "quant.weight_bits=5", "quant.activation_bits=5"});
  const Config stored = config_from_ini(checkpoint.config_text, "stored");
  EXPECT_EQ(stored.quant.bits, "equal");
  EXPECT_EQ(stored.quant.layer_bits, quant::layer_bits_of(checkpoint.graph));
  EXPECT_EQ(parity(checkpoint), 1.0);
}

TEST_F(Bits, TargetsAreMet) {
  const AllocationReport size =
      allocate_bits(request({"quant.target_size_ratio=0.125", "quant.activation_bits=6"}), false);
  EXPECT_LE(size.methods[1].size_ratio, 0.125);
  EXPECT_GT(size.methods[1].size_ratio, 0.115);
  EXPECT_LE(size.methods[1].average_activation_bits, 6.0);
  const AllocationReport share = allocate_bits(
      request({"quant.target_size_of_equal=0.8", "quant.weight_bits=4", "quant.activation_bits=6",
               "quant.noise_rule=measured", "quant.first_last_bits=0"}),
      false);
  EXPECT_LE(share.methods[1].average_weight_bits, 3.2);
  EXPECT_GT(share.methods[1].average_weight_bits, 3.0);
  EXPECT_LE(share.methods[1].average_activation_bits, 6.0);
  const AllocationReport sqnr = allocate_bits(request({"quant.target_sqnr_db=20"}), false);
  EXPECT_GE(sqnr.methods[1].measured_db, 20.0);
  EXPECT_LT(sqnr.methods[1].measured_db, 21.5);
  const AllocationReport operations =
      allocate_bits(request({"quant.target_bit_operations=0.3"}), false);
  EXPECT_LE(operations.methods[1].bit_operations_ratio, 0.3);
  EXPECT_GT(operations.methods[1].bit_operations_ratio, 0.25);
  const AllocationReport plain =
      allocate_bits(request({"quant.target_sqnr_db=20", "quant.noise_rule=plain"}), false);
  EXPECT_GE(plain.methods[1].measured_db, 20.0);
}

TEST_F(Bits, HeldLayersKeepTheirWidths) {
  const AllocationReport report =
      allocate_bits(request({"quant.first_last_bits=8", "quant.layer_bits=conv2=7/7",
                             "quant.weight_bits=4", "quant.min_bits=3", "quant.activation_bits=4"}),
                    false);
  for (const AllocatedWidth& width : report.widths) {
    const bool end = width.layer == "conv1" || width.layer == "fc" || width.layer == "input";
    const bool last_source = width.layer == "conv3" && !width.is_weight;
    if ((end && (width.is_weight || width.layer == "input")) || last_source) {
      EXPECT_EQ(width.bits, 8) << width.layer;
    }
    if (width.layer == "conv2") {
      EXPECT_EQ(width.bits, 7);
    }
    EXPECT_GE(width.bits, 3);
  }
}

TEST_F(Bits, PredictionsFollowMeasurement) {
  const SqnrReport report = measure_sqnr(request({}));
  ASSERT_EQ(report.output.size(), 7U);
  for (const SqnrPoint& point : report.output) {
    if (point.bits >= 5) {
      EXPECT_NEAR(point.refined_db, point.measured_db, 3.0) << point.bits;
    }
    EXPECT_TRUE(std::isfinite(point.plain_db));
  }
  const SensitivityReport sensitivity = measure_sensitivity(request({}));
  EXPECT_EQ(sensitivity.steps.size(), report.steps.size());
  for (const SensitivityRow& row : sensitivity.steps) {
    ASSERT_EQ(row.output_db.size(), 7U);
    EXPECT_GT(row.output_db.back(), row.output_db.front()) << row.node;
  }
}

TEST_F(Bits, QatTrainsTheChosenWidths) {
  const Overrides options = {"quant.method=qat", "quant.bits=auto", "quant.target_sqnr_db=15"};
  const TrainResult result =
      train({.config = config(options), .out = dir("qat"), .init = float_checkpoint()});
  const train::Checkpoint checkpoint = train::load_checkpoint(result.checkpoint);
  const Config stored = config_from_ini(checkpoint.config_text, "stored");
  EXPECT_EQ(stored.quant.layer_bits, quant::layer_bits_of(checkpoint.graph));
  EXPECT_EQ(parity(checkpoint), 1.0);
  EXPECT_ERROR(ConfigError, train({.config = config(options), .out = dir("fresh")}), "quant.bits",
               "give --init FILE");
}

TEST_F(Bits, NamesTargetsThatCannotBeMet) {
  EXPECT_ERROR(ConfigError, allocate_bits(request({"quant.target_sqnr_db=150"}), false),
               "target SQNR: expected at most");
  EXPECT_ERROR(ConfigError,
               allocate_bits(request({"quant.target_size_ratio=0.05", "quant.min_bits=4"}), false),
               "quant.target_size_ratio: expected at least 0.125");
  EXPECT_ERROR(ConfigError,
               allocate_bits(request({"quant.target_size_of_equal=0.5", "quant.weight_bits=4",
                                      "quant.first_last_bits=0", "quant.min_bits=3"}),
                             false),
               "quant.target_size_of_equal: expected at least 0.75");
  EXPECT_ERROR(ConfigError, config({"quant.min_bits=6", "quant.max_bits=5"}), "quant.min_bits");
  EXPECT_ERROR(ConfigError, config({"quant.target_sqnr_db=20", "quant.target_size_ratio=0.1"}),
               "one of target_sqnr_db");
}

}  // namespace
}  // namespace bitloom::trainers
