// Post-training steps through trainers::quantize on a tiny synthetic task: what each gains over the
// float network's logits, that reference and oneDNN agree on the result, and what is refused.
#include <gtest/gtest.h>

#include "bitloom/datasets/normalization.h"
#include "bitloom/quant/passes.h"
#include "bitloom/train/checkpoint.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "support/error_matchers.h"
#include "support/post_training_task.h"

namespace bitloom::trainers {
namespace {

// Depthwise between convolutions, and a residual: whatever the steps treat each in its way.
constexpr const char* kNet = R"(bitloom-graph 1
input = input(shape=1x12x12)
conv1.weight = parameter(shape=8x1x3x3)
conv1 = conv2d(input, conv1.weight, pad=1)
bn1 = batch_norm(conv1)
relu1 = relu(bn1)
pool1 = max_pool(relu1, kernel=2)
dw.weight = parameter(shape=8x1x3x3)
dw = conv2d(pool1, dw.weight, pad=1, groups=8)
bn2 = batch_norm(dw)
relu2 = relu(bn2)
conv2.weight = parameter(shape=8x8x1x1)
conv2 = conv2d(relu2, conv2.weight)
bn3 = batch_norm(conv2)
add1 = add(bn3, pool1)
relu3 = relu(add1)
gap = global_avg_pool(relu3)
flatten = flatten(gap)
fc.weight = parameter(shape=4x8)
fc = linear(flatten, fc.weight, bias=1)
)";

class PtqSteps : public PostTrainingTask {
 protected:
  PtqSteps() : PostTrainingTask(kNet) {}

  // Of the exported model's logits on the test images, against the float network's.
  double sqnr(const Overrides& options) {
    const Config with = config({"quant.method=float"});
    const datasets::ImageSet images = datasets::load_dataset(with.data).test;
    const Tensor table = datasets::normalization_table(with.data, 1);
    const auto logits = [&](const train::Checkpoint& checkpoint, const char* backend) {
      const integer::Model model = train::lower_checkpoint(checkpoint, table);
      return train::model_logits(model, {.backend = backend, .batch = 50}, images);
    };
    const train::Checkpoint checkpoint = quantized(options);
    const Tensor onednn = logits(checkpoint, "onednn");
    if (checkpoint.method == "ptq-static") {
      EXPECT_EQ(train::identical_share(onednn, logits(checkpoint, "reference")), 1.0);
    }
    return train::sqnr_db(logits(train::load_checkpoint(float_checkpoint()), "reference"), onednn);
  }
};

TEST_F(PtqSteps, AdaRoundGainsOverRoundingToNearest) {
  const Overrides bits = {"quant.weight_bits=3"};
  EXPECT_GT(sqnr({"quant.weight_bits=3", "quant.adaround=true", "quant.adaround_steps=500"}),
            sqnr(bits) + 2.0);
}

TEST_F(PtqSteps, BiasCorrectionGains) {
  const Overrides bits = {"quant.weight_bits=3"};
  EXPECT_GT(sqnr({"quant.weight_bits=3", "quant.bias_correction=true"}), sqnr(bits) + 1.0);
}

TEST_F(PtqSteps, EqualizationGainsOnPerTensorScales) {
  const Overrides per_tensor = {"quant.per_channel=false"};
  EXPECT_GT(sqnr({"quant.per_channel=false", "quant.equalize=true"}), sqnr(per_tensor) + 1.0);
}

// All together still run alike on both backends, with batch norm apart or folded ...
TEST_F(PtqSteps, StepsCombine) {
  Overrides all = {"quant.per_channel=false", "quant.equalize=true", "quant.adaround=true",
                   "quant.adaround_steps=300", "quant.bias_correction=true"};
  EXPECT_GT(sqnr(all), 15.0);
  all.push_back("quant.fold_batch_norm=true");
  EXPECT_GT(sqnr(all), 15.0);
}

// ... and so do observers on grids of every kind.
TEST_F(PtqSteps, ObserversRunOnEveryGrid) {
  for (const Overrides& grid :
       {Overrides{"quant.observer=kl", "quant.asymmetric=true"},
        Overrides{"quant.observer=percentile", "quant.power_of_two=true"},
        Overrides{"quant.observer=ema", "quant.asymmetric=true", "quant.power_of_two=true"}}) {
    SCOPED_TRACE(grid.front());
    Overrides options = grid;
    options.push_back("quant.weight_bits=8");
    EXPECT_GT(sqnr(options), 15.0);
  }
}

// Without grids for activations the steps see what rounding does to weights alone.
TEST_F(PtqSteps, StepsServeDynamicAndWeightOnlyToo) {
  for (const char* method : {"ptq-dynamic", "ptq-weight-only"}) {
    SCOPED_TRACE(method);
    const Overrides plain = {cat("quant.method=", method), "quant.weight_bits=3"};
    Overrides steps = plain;
    steps.insert(steps.end(), {"quant.equalize=true", "quant.adaround=true",
                               "quant.adaround_steps=300", "quant.bias_correction=true"});
    EXPECT_GT(sqnr(steps), sqnr(plain) + 1.0);
  }
}

TEST_F(PtqSteps, TheGraphStaysTheFloatNetworks) {
  const train::Checkpoint checkpoint =
      quantized({"quant.equalize=true", "quant.adaround=true", "quant.adaround_steps=5",
                 "quant.bias_correction=true"});
  EXPECT_EQ(quant::strip_fake_quant(checkpoint.graph).to_text(),
            train::load_checkpoint(float_checkpoint()).graph.to_text());
}

TEST_F(PtqSteps, QatStartsFromTheSteps) {
  const TrainResult result =
      train({.config = config({"quant.method=qat", "train.qat_epochs=1", "quant.adaround=true",
                               "quant.adaround_steps=20", "quant.bias_correction=true"}),
             .out = dir("qat"),
             .init = float_checkpoint()});
  EXPECT_GT(result.validation_top1, 50.0);  // four classes: chance is 25
  EXPECT_ERROR(
      ConfigError,
      train({.config = config({"quant.method=qat", "quant.quantizer=ema", "quant.adaround=true"}),
             .out = dir("ema"),
             .init = float_checkpoint()}),
      "set quant.quantizer = lsq or quant.adaround = false");
}

}  // namespace
}  // namespace bitloom::trainers
