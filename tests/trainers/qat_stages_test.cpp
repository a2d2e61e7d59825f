// Whole QAT runs through trainers::train on a tiny synthetic task: every quantizer exports what it
// trained, every stage resumes bit for bit, and contradictory stages are refused.
#include <gtest/gtest.h>

#include <cstring>

#include "bitloom/datasets/normalization.h"
#include "bitloom/integer/model_archive.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/train/evaluate.h"
#include "bitloom/train/loop.h"
#include "bitloom/trainers/commands.h"
#include "bitloom/trainers/config_keys.h"
#include "support/error_matchers.h"
#include "support/qat_runs.h"

namespace bitloom::trainers {
namespace {

struct Recipe {
  const char* name;
  Overrides overrides;
  std::int64_t stop;
};
void PrintTo(const Recipe& recipe, std::ostream* out) { *out << recipe.name; }

class QatRecipes : public QatRuns, public testing::WithParamInterface<Recipe> {};

TEST_P(QatRecipes, ExportsWhatItTrainedAndResumesBitForBit) {
  const Config with = config(GetParam().overrides);
  const TrainResult whole = run(with, "whole");
  expect_exports_what_it_trained(whole.checkpoint, with);
  expect_same(whole.checkpoint, run(with, "stopped", GetParam().stop).checkpoint);
}

const Overrides kStages = {"quant.delay_epochs=1", "quant.freeze_range_epochs=2",
                           "quant.freeze_batch_norm_epochs=1"};

Overrides with_stages(Overrides overrides) {
  overrides.insert(overrides.end(), kStages.begin(), kStages.end());
  return overrides;
}

INSTANTIATE_TEST_SUITE_P(
    Quantizers, QatRecipes,
    testing::Values(
        Recipe{"lsq_plus", {"quant.quantizer=lsq+"}, 11},
        Recipe{"pact", {"quant.quantizer=pact"}, 11},
        Recipe{"dorefa", {"quant.quantizer=dorefa"}, 11},
        Recipe{"dorefa_reduced", {"quant.quantizer=dorefa", "profile=int8-reduced"}, 9},
        Recipe{"lsq_plus_reduced", {"quant.quantizer=lsq+", "profile=int8-reduced"}, 9},
        Recipe{"lsq_power", {"quant.power_of_two=true"}, 11},
        Recipe{"lsq_plus_power_stages",
               with_stages({"quant.quantizer=lsq+", "quant.power_of_two=true"}), 27},
        Recipe{"pact_power", {"quant.quantizer=pact", "quant.power_of_two=true"}, 11},
        Recipe{"ema_power", {"quant.quantizer=ema", "quant.power_of_two=true"}, 11},
        Recipe{"pact_stages", with_stages({"quant.quantizer=pact"}), 19},
        Recipe{"dorefa_stages", with_stages({"quant.quantizer=dorefa"}), 19},
        Recipe{"averaged_stages", with_stages({"quant.quantizer=pact", "train.ema_decay=0.9"}), 20},
        Recipe{"adam", {"quant.quantizer=lsq+", "train.optimizer=adam", "train.lr=0.01"}, 9}),
    testing::PrintToStringParamName());

// Stops on both sides of every stage's first step.
INSTANTIATE_TEST_SUITE_P(Stops, QatRecipes,
                         testing::Values(Recipe{"float", kStages, 5}, Recipe{"delay", kStages, 8},
                                         Recipe{"begun", kStages, 9}, Recipe{"ranges", kStages, 16},
                                         Recipe{"frozen", kStages, 17}, Recipe{"norm", kStages, 24},
                                         Recipe{"last", kStages, 31}),
                         testing::PrintToStringParamName());

TEST_F(QatRuns, StagesComeInTheirEpochs) {
  struct Seen {
    bool quantized = false;
    bool frozen = false;
    bool norm = false;
  };
  std::vector<Seen> seen;
  std::vector<float> scales;
  const Config with = config(kStages);
  TrainRequest request{.config = with, .out = dir_ / "run"};
  request.watcher = [&](const StepReport& report) {
    if (!report.epoch_done) return;
    const train::Checkpoint now = train::load_checkpoint(request.out / "checkpoint.h5");
    const layers::Node* quantizer = now.graph.find("relu1.q");
    export_model({.checkpoint = request.out / "checkpoint.h5", .out = dir_ / "model.h5"});
    const integer::Model model = integer::model_from_archive(io::load_archive(dir_ / "model.h5"));
    EXPECT_EQ(model.weights_label, quantizer == nullptr ? "float" : "w4a4");
    seen.push_back({.quantized = quantizer != nullptr,
                    .frozen = quantizer != nullptr && quantizer->integer("frozen", 0) != 0,
                    .norm = now.graph.find("bn1")->integer("frozen", 0) != 0});
    if (quantizer != nullptr) {
      scales.push_back(now.parameters.at("relu1.q.scale").value.data<float>()[0]);
    }
  };
  train(request);
  ASSERT_EQ(seen.size(), 4U);
  for (std::size_t epoch = 0; epoch < 4; ++epoch) {
    EXPECT_EQ(seen[epoch].quantized, epoch >= 1) << epoch;
    EXPECT_EQ(seen[epoch].frozen, epoch >= 2) << epoch;
    EXPECT_EQ(seen[epoch].norm, epoch >= 3) << epoch;
  }
  ASSERT_EQ(scales.size(), 3U);
  EXPECT_EQ(scales[0], scales[1]);  // frozen from its end on
  EXPECT_EQ(scales[1], scales[2]);
}

// The shortcut is signed: its offset is learned and its zero point follows into the graph.
TEST_F(QatRuns, LsqPlusLearnsTheOffsetOfTheSignedShortcut) {
  const Overrides lsq_plus = {"quant.quantizer=lsq+"};
  Overrides none = lsq_plus;
  none.emplace_back("train.qat_epochs=0");
  const auto load = [&](const Overrides& overrides, const char* name) {
    return train::load_checkpoint(run(config(overrides), name, 0, float_checkpoint()).checkpoint);
  };
  const train::Checkpoint start = load(none, "start");
  const train::Checkpoint end = load(lsq_plus, "end");
  const auto value = [](const train::Checkpoint& of, const char* name) {
    return of.parameters.at(name).value.data<float>()[0];
  };
  EXPECT_NE(value(start, "down.bn.q.offset"), 0.0F);
  EXPECT_NE(value(start, "down.bn.q.offset"), value(end, "down.bn.q.offset"));
  EXPECT_EQ(static_cast<float>(end.graph.find("down.bn.q")->integer("zero_point", -1)),
            value(end, "down.bn.q.zero_point"));
  EXPECT_FALSE(end.parameters.has("relu1.q.offset"));  // behind a ReLU real 0 is code 0
}

TEST_F(QatRuns, FoldedBatchNormTrainsOnWithOneScaleATensor) {
  const Config with = config({"quant.fold_batch_norm=true", "quant.per_channel=false"});
  const TrainResult whole = run(with, "whole", 0, float_checkpoint());
  expect_exports_what_it_trained(whole.checkpoint, with);
  const train::Checkpoint checkpoint = train::load_checkpoint(whole.checkpoint);
  EXPECT_EQ(checkpoint.graph.find("bn2"), nullptr);
  EXPECT_EQ(checkpoint.parameters.at("conv2.weight.q.scale").value.elements(), 1);
  expect_same(whole.checkpoint, run(with, "stopped", 13, float_checkpoint()).checkpoint);
  // A folded run starts a narrower folded one, which has no batch norm to fold any more.
  const Config narrow = config({"quant.fold_batch_norm=true", "quant.per_channel=false",
                                "quant.weight_bits=3", "train.qat_epochs=1"});
  EXPECT_GT(run(narrow, "narrow", 0, whole.checkpoint).validation_top1, 50.0);
  EXPECT_ERROR(ConfigError, run(config({}), "unfolded", 0, whole.checkpoint), "` in place of `");
}

TEST_F(QatRuns, FoldedBatchNormServesPostTrainingToo) {
  const Config with = config({"quant.fold_batch_norm=true", "quant.per_channel=false",
                              "quant.weight_bits=8", "quant.activation_bits=8"},
                             "ptq-static");
  quantize({.checkpoint = float_checkpoint(), .config = with, .out = dir_ / "folded.h5"});
  const train::Checkpoint folded = train::load_checkpoint(dir_ / "folded.h5");
  EXPECT_EQ(folded.graph.find("bn1"), nullptr);
  const Tensor table = datasets::normalization_table(with.data, 1);
  const datasets::Dataset data = datasets::load_dataset(with.data);
  const auto logits = [&](const train::Checkpoint& of) {
    return train::model_logits(train::lower_checkpoint(of, table), {.batch = 50}, data.test);
  };
  EXPECT_GE(
      train::agreement_share(logits(folded), logits(train::load_checkpoint(float_checkpoint()))),
      0.95);
}

TEST_F(QatRuns, DistillsFromTheInitNetworkAndResumes) {
  const Config with = config({"quant.distill_weight=0.7", "quant.distill_temperature=3"});
  const TrainResult whole = run(with, "whole", 0, float_checkpoint());
  expect_exports_what_it_trained(whole.checkpoint, with);
  EXPECT_TRUE(std::filesystem::exists(dir_ / "whole/teacher.h5"));
  expect_same(whole.checkpoint, run(with, "stopped", 13, float_checkpoint()).checkpoint);
  // The teacher changes what is learned.
  const TrainResult alone = run(config({}), "alone", 0, float_checkpoint());
  const auto weight = [](const TrainResult& result) {
    return train::load_checkpoint(result.checkpoint)
        .parameters.at("fc.weight")
        .value.data<float>()[0];
  };
  EXPECT_NE(weight(whole), weight(alone));
}

TEST_F(QatRuns, AnotherNetworkTeaches) {
  const Config teacher = with_overrides(config({}), {"model.file=", "model.network=lenet300",
                                                     "quant.method=float", "train.epochs=1"});
  const std::string file = run(teacher, "teacher").checkpoint.string();
  const std::string key = "quant.distill_teacher=" + file;
  const Config with = config({"quant.distill_weight=0.5", key});
  const TrainResult whole = run(with, "whole");  // without --init
  expect_exports_what_it_trained(whole.checkpoint, with);
  EXPECT_EQ(train::load_checkpoint(dir_ / "whole/teacher.h5").network, "lenet300");
  expect_same(whole.checkpoint, run(with, "stopped", 13).checkpoint);

  const auto refused = [&](const Overrides& overrides) {
    Overrides all = {"quant.distill_weight=0.5", key, "model.file=", "model.network=lenet300"};
    all.insert(all.end(), overrides.begin(), overrides.end());
    return config(all);
  };
  EXPECT_ERROR(ShapeError, run(refused({"data.synthetic_width=14"}), "wide"), "teacher",
               "the data set has other images");
  EXPECT_ERROR(ShapeError, run(refused({"data.classes=5"}), "classes"), "one a class",
               "change the last layer or data.classes");
  EXPECT_ERROR(ConfigError, run(refused({"data.mean=0.5"}), "mean"), "another normalization",
               "train both under the same [data]");
  for (const char* name : {"wide", "classes", "mean"}) {
    EXPECT_FALSE(std::filesystem::exists(dir_ / name)) << name;
  }
}

TEST_F(QatRuns, NarrowerStartsFromWider) {
  const Config wide = config({"quant.weight_bits=8", "quant.activation_bits=8"});
  const TrainResult w8 = run(wide, "w8", 0, float_checkpoint());
  const Config none = config({"train.qat_epochs=0"});
  const train::Checkpoint start =
      train::load_checkpoint(run(none, "w4", 0, w8.checkpoint).checkpoint);
  const train::Checkpoint source = train::load_checkpoint(w8.checkpoint);
  for (const char* name : {"conv2.weight", "bn2.running_var", "fc.bias"}) {
    const Tensor& taken = source.parameters.at(name).value;
    EXPECT_EQ(std::memcmp(taken.raw(), start.parameters.at(name).value.raw(), taken.bytes()), 0)
        << name;
  }
  // 4-bit steps are wider than 8-bit ones, but clip below the 8 bits' range.
  const auto scale = [](const train::Checkpoint& of) {
    return of.parameters.at("relu1.q.scale").value.data<float>()[0];
  };
  EXPECT_GT(scale(start), scale(source));
  EXPECT_LT(scale(start) * 15.0F, scale(source) * 255.0F);
  EXPECT_ERROR(ConfigError, run(wide, "wider", 0, dir_ / "w4/checkpoint.h5"), "QAT of w4a4",
               "start from a wider run");
  EXPECT_ERROR(ConfigError, run(config({"quant.quantizer=pact"}), "pact", 0, w8.checkpoint),
               "pact and dorefa put tanh");
}

struct Contradiction {
  const char* name;
  Overrides overrides;
  const char* place;
};
void PrintTo(const Contradiction& of, std::ostream* out) { *out << of.name; }
class QatContradictions : public QatRuns, public testing::WithParamInterface<Contradiction> {};

TEST_P(QatContradictions, AreNamed) {
  EXPECT_ERROR(ConfigError, run(config(GetParam().overrides), "run"), GetParam().place);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "run/checkpoint.h5"));
}

INSTANTIATE_TEST_SUITE_P(
    Stages, QatContradictions,
    testing::Values(
        Contradiction{"never", {"quant.delay_epochs=4"}, "quant.delay_epochs"},
        Contradiction{"early",
                      {"quant.delay_epochs=2", "quant.freeze_range_epochs=3"},
                      "quant.freeze_range_epochs"},
        Contradiction{"norm",
                      {"quant.delay_epochs=2", "quant.freeze_batch_norm_epochs=3"},
                      "quant.freeze_batch_norm_epochs"},
        Contradiction{"folded",
                      {"quant.delay_epochs=2", "quant.fold_batch_norm=true",
                       "quant.freeze_batch_norm_epochs=1"},
                      "a folded batch norm"},
        Contradiction{"untrained", {"quant.fold_batch_norm=true"}, "quant.fold_batch_norm"},
        Contradiction{
            "rounded", {"quant.quantizer=dorefa", "quant.adaround=true"}, "quant.adaround"},
        Contradiction{"untaught", {"quant.distill_weight=0.5"}, "quant.distill_weight"}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace bitloom::trainers
