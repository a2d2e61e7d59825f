// Whole runs with weights and activations of one and two bits on a tiny synthetic task: every
// method learns, exports what it trained, and resumes bit for bit.
#include <gtest/gtest.h>

#include <cstring>

#include "bitloom/datasets/normalization.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "support/tiny_task.h"

namespace bitloom::trainers {
namespace {

// Binary block order and a shortcut of reals.
constexpr const char* kNet = R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=16x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
pool1 = max_pool(conv1, kernel=2)
bn1 = batch_norm(pool1)
act1 = hardtanh(bn1)
conv2.weight = parameter(shape=16x16x3x3)
conv2 = conv2d(act1, conv2.weight, pad=1)
bn2 = batch_norm(conv2)
add2 = add(bn2, bn1)
act2 = hardtanh(add2)
conv3.weight = parameter(shape=16x16x3x3)
conv3 = conv2d(act2, conv3.weight, stride=2, pad=1)
bn3 = batch_norm(conv3)
act3 = hardtanh(bn3)
flatten = flatten(act3)
fc.weight = parameter(shape=4x144)
fc = linear(flatten, fc.weight, bias=1)
)";

// The usual order, whose activations get codes of several bits.
constexpr const char* kPlainNet = R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=16x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
conv2.weight = parameter(shape=16x16x3x3)
conv2 = conv2d(pool1, conv2.weight, stride=2, pad=1)
bn2 = batch_norm(conv2)
relu2 = relu(bn2)
flatten = flatten(relu2)
fc.weight = parameter(shape=4x144)
fc = linear(flatten, fc.weight, bias=1)
)";

constexpr std::int64_t kStepsPerEpoch = 8;  // (320 - 64) / 32

class FewBitRuns : public testing::Test {
 protected:
  explicit FewBitRuns(const char* net = kNet) : task_(net) {}

  Config config(const Overrides& more) const {
    Overrides all = {"quant.method=qat",
                     "data.validation_images=64",
                     "data.synthetic_images=320",
                     "quant.calibration_images=64",
                     "train.lr=0.02",
                     "train.schedule=constant",
                     "train.optimizer=adam",
                     "train.weight_decay=0"};
    all.insert(all.end(), more.begin(), more.end());
    return task_.config(all);
  }

  // Runs to the end, or stops after `stop` steps and resumes.
  TrainResult run(const Config& with, const std::string& name, std::int64_t stop = 0) const {
    TrainRequest request{.config = with, .out = task_ / name};
    std::int64_t steps = 0;
    request.watcher = [&](const StepReport&) {
      if (++steps == stop) request_stop();
    };
    TrainResult result = train(request);
    if (stop == 0) return result;
    EXPECT_TRUE(result.interrupted);
    request.resume = true;
    result = train(request);
    EXPECT_EQ(steps, 4 * kStepsPerEpoch);
    return result;
  }

  static void expect_same(const train::Checkpoint& one, const train::Checkpoint& two) {
    EXPECT_EQ(one.graph.to_text(), two.graph.to_text());
    EXPECT_EQ(one.position.validation_top1, two.position.validation_top1);
    ASSERT_EQ(one.parameters.all().size(), two.parameters.all().size());
    for (const auto& [name, parameter] : one.parameters.all()) {
      const Tensor& other = two.parameters.at(name).value;
      ASSERT_EQ(parameter.value.bytes(), other.bytes()) << name;
      EXPECT_EQ(std::memcmp(parameter.value.raw(), other.raw(), other.bytes()), 0) << name;
    }
  }

  TinyTask task_;
};

struct Method {
  const char* name;
  Overrides overrides;
  const char* net = kNet;
};
void PrintTo(const Method& method, std::ostream* out) { *out << method.name; }

class FewBitMethods : public FewBitRuns, public testing::WithParamInterface<Method> {
 protected:
  FewBitMethods() : FewBitRuns(GetParam().net) {}
};

TEST_P(FewBitMethods, LearnExportAndResumeBitForBit) {
  const Config with = config(GetParam().overrides);
  const TrainResult whole = run(with, "whole");
  const train::Checkpoint checkpoint = train::load_checkpoint(whole.checkpoint);
  EXPECT_GT(whole.validation_top1, 50.0);  // four classes: chance is 25
  const Tensor table = datasets::normalization_table(with.data, 1);
  const integer::Model model = train::lower_checkpoint(checkpoint, table);
  const datasets::Dataset data = datasets::load_dataset(with.data);
  const auto logits = [&](const char* backend) {
    return train::model_logits(model, {.backend = backend, .batch = 50}, data.validation);
  };
  const Tensor reference = logits("reference");
  EXPECT_EQ(train::top1_percent(reference, data.validation.labels), whole.validation_top1);
  expect_same(checkpoint, train::load_checkpoint(run(with, "stopped", 11).checkpoint));
}

Overrides method(const char* quantizer, int weight_bits, int activation_bits,
                 const Overrides& more = {}) {
  Overrides all = {cat("quant.quantizer=", quantizer), cat("quant.weight_bits=", weight_bits),
                   cat("quant.activation_bits=", activation_bits)};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

INSTANTIATE_TEST_SUITE_P(
    Weights, FewBitMethods,
    testing::Values(Method{"binary_connect", method("binary-connect", 1, 32)},
                    Method{"binary_connect_stochastic", method("binary-connect-stochastic", 1, 32)},
                    Method{"bwn", method("bwn", 1, 32)},
                    Method{"bwn_float_ends", method("bwn", 1, 32, {"quant.first_last_bits=32"})},
                    Method{"dorefa", method("dorefa", 1, 4), kPlainNet},
                    Method{"twn", method("twn", 2, 32)},
                    Method{"twn_codes", method("twn", 2, 4), kPlainNet},
                    Method{"twn_exact", method("twn-exact", 2, 32)},
                    Method{"ttq", method("ttq", 2, 32)}),
    testing::PrintToStringParamName());

INSTANTIATE_TEST_SUITE_P(
    Signs, FewBitMethods,
    testing::Values(
        Method{"bnn", method("bnn", 1, 1)},
        Method{"bnn_stochastic", method("bnn-stochastic", 1, 1)},
        Method{
            "bnn_shifts",
            method("bnn", 1, 1, {"quant.shift_batch_norm=true", "train.optimizer=shift-adamax"})},
        Method{"bnn_glorot", method("bnn", 1, 1, {"quant.lr_scaling=glorot", "train.lr=0.002"})},
        Method{"xnor", method("xnor", 1, 1)}, Method{"bi_real", method("bi-real", 1, 1)},
        Method{"bi_real_float_ends", method("bi-real", 1, 1, {"quant.first_last_bits=32"})},
        Method{"reactnet", method("reactnet", 1, 1)},
        Method{"ternary_weights", method("twn", 2, 1)}),
    testing::PrintToStringParamName());

TEST_F(FewBitRuns, TellHowManyCodesAnEpochChanged) {
  run(config(method("twn", 2, 32)), "run");
  const std::string rows = io::read_whole_file(task_ / "run/epochs.jsonl");
  std::size_t count = 0;
  for (std::size_t at = rows.find("\"code_changes\":0."); at != std::string::npos;
       at = rows.find("\"code_changes\":0.", at + 1)) {
    ++count;
  }
  EXPECT_EQ(count, 4U);
}

}  // namespace
}  // namespace bitloom::trainers
