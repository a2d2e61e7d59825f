// A trained network in profile fixed-point, by the keys that `compare` gives ptq-fixed-point.
#include <gtest/gtest.h>

#include "bitloom/datasets/normalization.h"
#include "bitloom/integer/fixed_point.h"
#include "bitloom/quant/layer_bits.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/compare_methods.h"
#include "support/error_matchers.h"
#include "support/post_training_task.h"
#include "support/residual_graph.h"

namespace bitloom::trainers {
namespace {

class FixedPointTask : public PostTrainingTask {
 protected:
  FixedPointTask()
      : PostTrainingTask(residual_text({.input = "1x12x12",
                                        .stem_shape = "8x1x3x3",
                                        .width = 8,
                                        .tail = ResidualText::average_tail(8, 4)}),
                         {"quant.weight_bits=8", "quant.activation_bits=8"}) {}

  Overrides keys(const Overrides& more = {}) const {
    Overrides all = compare_method("ptq-fixed-point").overrides;
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
};

TEST_F(FixedPointTask, RunsAlikeEverywhereAndKeepsItsAccuracy) {
  const Config with = config(keys());
  const datasets::ImageSet images = datasets::load_dataset(with.data).test;
  const Tensor table = datasets::normalization_table(with.data, 1);
  const auto top1 = [&](const train::Checkpoint& checkpoint) {
    const integer::Model model = train::lower_checkpoint(checkpoint, table);
    const Tensor onednn = train::model_logits(model, {.backend = "onednn", .batch = 50}, images);
    const Tensor reference =
        train::model_logits(model, {.backend = "reference", .batch = 64}, images);
    if (checkpoint.method != "float") {
      EXPECT_EQ(train::identical_share(onednn, reference), 1.0);
    }
    return train::top1_percent(reference, images.labels);
  };
  const double real = top1(train::load_checkpoint(float_checkpoint()));
  EXPECT_GT(real, 60.0);
  EXPECT_GE(top1(quantized(keys())), real - 4.0);
  // Widths of single layers, too.
  const train::Checkpoint mixed = quantized(keys({"quant.layer_bits=conv1=6/5,conv2=4/7"}));
  top1(mixed);
  for (const integer::Layer& layer : train::lower_checkpoint(mixed, table).layers) {
    if (layer.op == integer::LayerOp::kConv2d || layer.op == integer::LayerOp::kLinear) {
      EXPECT_EQ(layer.mode, integer::ComputeMode::kFixedPoint) << layer.name;
    }
  }
}

TEST_F(FixedPointTask, NamesTheKeysThatItNeeds) {
  for (const char* key :
       {"quant.power_of_two=false", "quant.per_channel=true", "quant.fold_batch_norm=false",
        "quant.asymmetric=true", "quant.method=ptq-dynamic"}) {
    const std::string text(key);
    EXPECT_ERROR(ConfigError, config(keys({text})), text.substr(0, text.find('=')),
                 "with profile = fixed-point");
  }
  EXPECT_NO_THROW(config({"profile=fixed-point", "quant.method=float"}));
}

}  // namespace
}  // namespace bitloom::trainers
