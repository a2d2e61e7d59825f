// Widths that fall while a network trains: through whole runs, and one decision at a time.
#include "width_schedule.h"

#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <vector>

#include "bitloom/quant/layer_bits.h"
#include "probe.h"
#include "stages.h"
#include "support/error_matchers.h"
#include "support/qat_runs.h"

namespace bitloom::trainers {
namespace {

using nlohmann::json;

const Overrides kSchedule = {"quant.bits=auto",        "quant.first_last_bits=0",
                             "schedule.kind=sqnr",     "schedule.start_epoch=0",
                             "schedule.end_epoch=3",   "quant.target_size_ratio=0.125",
                             "quant.activation_bits=5"};

Overrides schedule_with(const Overrides& more) {
  Overrides all = kSchedule;
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::vector<json> rows_of(const std::filesystem::path& file) {
  std::vector<json> rows;
  std::ifstream lines(file);
  for (std::string line; std::getline(lines, line);) rows.push_back(json::parse(line));
  return rows;
}

class Scheduled : public QatRuns {
 protected:
  // A float network that knows the task, quantized with the widest widths by epoch 0's decision.
  train::Checkpoint started(const Config& with) {
    const Experiment experiment(with);
    train::Checkpoint checkpoint = float_checkpoint_of(with, experiment);
    advance_stage(checkpoint, with, experiment);
    return checkpoint;
  }
  train::Checkpoint float_checkpoint_of(const Config& with, const Experiment& experiment) {
    train::Checkpoint checkpoint = bitloom::trainers::float_checkpoint(with, experiment);
    start_from(checkpoint, with, experiment, float_checkpoint());
    checkpoint.config_text = to_ini(with);
    return checkpoint;
  }
  // What an epoch's beginning does to it.
  static void decide(train::Checkpoint& checkpoint, const Config& with, std::int64_t epoch,
                     double validation_loss) {
    const Experiment experiment(with);
    checkpoint.position.epoch = epoch;
    checkpoint.position.validation_loss = validation_loss;
    advance_widths(checkpoint, with, experiment);
  }
  static double note(const train::Checkpoint& checkpoint, const char* name) {
    return json::parse(checkpoint.notes).at(name).get<double>();
  }
};

TEST_F(Scheduled, WidthsFallToTheSizeAndTheRunResumesBitForBit) {
  const Config with = config(kSchedule);
  const TrainResult whole = run(with, "whole", 0, float_checkpoint());
  expect_exports_what_it_trained(whole.checkpoint, with);
  const std::vector<json> rows = rows_of(dir_ / "whole/epochs.jsonl");
  ASSERT_EQ(rows.size(), 4U);
  for (std::size_t i = 1; i < rows.size(); ++i) {
    EXPECT_LE(rows[i].at("average_weight_bits").get<double>(),
              rows[i - 1].at("average_weight_bits").get<double>());
    EXPECT_GT(rows[i].at("validation_loss").get<double>(), 0.0);
  }
  EXPECT_GT(rows[0].at("average_weight_bits").get<double>(), 4.2);
  EXPECT_LE(rows[3].at("average_weight_bits").get<double>(), 4.0);
  EXPECT_GT(rows[3].at("average_weight_bits").get<double>(), 3.7);
  EXPECT_LE(rows[3].at("average_activation_bits").get<double>(), 5.0);
  EXPECT_NE(rows[0].at("layer_bits"), rows[3].at("layer_bits"));
  const train::Checkpoint checkpoint = train::load_checkpoint(whole.checkpoint);
  for (const auto& [layer, bits] : quant::layer_bits_of(checkpoint.graph)) {
    EXPECT_EQ(rows[3].at("layer_bits").at(layer), json({bits.weight, bits.activation})) << layer;
  }
  // On both sides of a decision's first step, in the middle of the schedule and behind it.
  for (const std::int64_t stop : {8, 9, 20}) {
    expect_same(whole.checkpoint,
                run(with, cat("stopped", stop), stop, float_checkpoint()).checkpoint);
  }
}

TEST_F(Scheduled, LossLetsWidthsFallOrRaisesThem) {
  const Config with = config(
      schedule_with({"schedule.kind=loss", "schedule.loss_tolerance=0.1", "train.qat_epochs=8",
                     "train.epochs=8", "schedule.end_epoch=6", "quant.quantizer=ema"}));
  train::Checkpoint checkpoint = started(with);  // epoch 0: no loss is known
  EXPECT_EQ(note(checkpoint, "level"), 1);
  EXPECT_EQ(note(checkpoint, "levels"), 7);
  decide(checkpoint, with, 1, 0.5);
  EXPECT_EQ(note(checkpoint, "level"), 2);
  decide(checkpoint, with, 2, 0.54);
  EXPECT_EQ(note(checkpoint, "level"), 3);
  const double narrow = note(checkpoint, "average_weight_bits");
  decide(checkpoint, with, 3, 0.56);
  EXPECT_EQ(note(checkpoint, "level"), 2);
  decide(checkpoint, with, 4, 0.9);
  EXPECT_EQ(note(checkpoint, "level"), 1);
  EXPECT_GT(note(checkpoint, "average_weight_bits"), narrow);
  decide(checkpoint, with, 6, 0.9);  // the end, whatever the loss
  EXPECT_LE(note(checkpoint, "average_weight_bits"), 4.0);
}

TEST_F(Scheduled, ALayerThatComesToNeedMoreBitsGetsThem) {
  const Config with = config(schedule_with({"train.epochs=12", "schedule.end_epoch=11"}));
  train::Checkpoint checkpoint = started(with);
  decide(checkpoint, with, 1, 0.0);
  decide(checkpoint, with, 2, 0.0);
  const int before = quant::layer_bits_of(checkpoint.graph).at("conv2").weight;
  // One outlier in each channel: the others' steps grow, and with them their noise.
  Tensor& weight = checkpoint.parameters.at("conv2.weight").value;
  const std::int64_t row = weight.elements() / weight.shape().n();
  for (std::int64_t o = 0; o < weight.shape().n(); ++o) weight.data<float>()[o * row] = 4.0F;
  decide(checkpoint, with, 3, 0.0);
  EXPECT_GT(quant::layer_bits_of(checkpoint.graph).at("conv2").weight, before);
}

TEST_F(Scheduled, NodesThatKeepTheirWidthKeepWhatTheyLearned) {
  const Config with = config(schedule_with({"quant.target_size_ratio=0.2"}));
  train::Checkpoint checkpoint = started(with);
  std::map<std::string, Tensor> learned;
  for (auto& [name, parameter] : checkpoint.parameters.all()) {
    if (!name.ends_with(".q.scale")) continue;
    for (float& scale : parameter.value.span<float>()) scale *= 1.25F;
    learned.emplace(name, parameter.value.clone());
  }
  const quant::LayerBitsTable before = quant::layer_bits_of(checkpoint.graph);
  decide(checkpoint, with, 3, 0.0);
  const auto owners = quant::node_owners(checkpoint.graph);
  std::size_t kept = 0;
  std::size_t renewed = 0;
  for (const auto& [node, owner] : owners) {
    if (checkpoint.graph.find(node)->has("share")) continue;
    const quant::LayerBits now = quant::layer_bits_of(checkpoint.graph).at(owner.layer);
    const quant::LayerBits then = before.at(owner.layer);
    const bool same =
        owner.is_weight ? now.weight == then.weight : now.activation == then.activation;
    const Tensor& scale = checkpoint.parameters.at(node + ".scale").value;
    EXPECT_EQ(std::memcmp(scale.raw(), learned.at(node + ".scale").raw(), scale.bytes()) == 0, same)
        << node;
    (same ? kept : renewed) += 1;
  }
  EXPECT_GT(kept, 0U);
  EXPECT_GT(renewed, 0U);
}

TEST_F(Scheduled, ATargetInDecibelsHoldsWhenItIsMetAndUntilTheEnd) {
  const Config with = config({"quant.bits=auto", "quant.first_last_bits=0", "schedule.kind=sqnr",
                              "schedule.start_epoch=1", "schedule.end_epoch=2",
                              "quant.target_sqnr_db=18", "train.epochs=4"});
  const TrainResult result = run(with, "run");  // from scratch: the first epoch at full widths
  const std::vector<json> rows = rows_of(dir_ / "run/epochs.jsonl");
  ASSERT_EQ(rows.size(), 4U);
  EXPECT_FALSE(rows[0].contains("sqnr_db"));
  for (const auto& [layer, bits] : rows[0].at("layer_bits").items()) {
    EXPECT_EQ(bits.at(1).get<int>() % 8, 0) << layer;
  }
  EXPECT_GE(rows[2].at("sqnr_db").get<double>(), 18.0);
  expect_exports_what_it_trained(result.checkpoint, with);
  expect_same(result.checkpoint, run(with, "stopped", 19).checkpoint);
}

TEST_F(Scheduled, BrokenStatisticsAreNamed) {
  const Config with = config(kSchedule);
  train::Checkpoint constant = started(with);
  for (float& gamma : constant.parameters.at("bn1.gamma").value.span<float>()) gamma = 0.0F;
  for (float& beta : constant.parameters.at("bn1.beta").value.span<float>()) beta = 1.0F;
  EXPECT_ERROR(NumericError, decide(constant, with, 1, 0.0), "relu1", "the constant 1");
  train::Checkpoint broken = started(with);
  broken.parameters.at("conv2.weight").value.data<float>()[3] = std::nanf("");
  EXPECT_ERROR(NumericError, decide(broken, with, 1, 0.0), "finite");
}

struct Contradiction {
  const char* name;
  Overrides overrides;
  const char* place;
  bool has_init = true;
};
void PrintTo(const Contradiction& of, std::ostream* out) { *out << of.name; }
class ScheduleContradictions : public Scheduled,
                               public testing::WithParamInterface<Contradiction> {};

TEST_P(ScheduleContradictions, AreNamed) {
  const std::filesystem::path init = GetParam().has_init ? float_checkpoint() : "";
  EXPECT_ERROR(ConfigError, run(config(schedule_with(GetParam().overrides)), "run", 0, init),
               GetParam().place);
  EXPECT_FALSE(std::filesystem::exists(dir_ / "run/checkpoint.h5"));
}

INSTANTIATE_TEST_SUITE_P(
    Schedules, ScheduleContradictions,
    testing::Values(
        Contradiction{
            "ends_first", {"schedule.start_epoch=3"}, "the schedule ends before it starts"},
        Contradiction{
            "too_late", {"schedule.end_epoch=4"}, "schedule.end_epoch: expected at most 3"},
        Contradiction{"frozen", {"quant.freeze_range_epochs=2"}, "expected at most 2"},
        Contradiction{
            "delayed", {"quant.delay_epochs=1"}, "schedule.start_epoch: expected at least 1"},
        Contradiction{"untrained", {}, "schedule.start_epoch: expected at least 1", false},
        Contradiction{"rare", {"schedule.every_epochs=4"}, "schedule.every_epochs"},
        Contradiction{"equal", {"quant.bits=equal"}, "schedule.kind"},
        Contradiction{"squashed", {"quant.quantizer=dorefa"}, "schedule.kind"},
        Contradiction{"rounded", {"quant.adaround=true"}, "quant.adaround"},
        Contradiction{"small",
                      {"quant.target_size_ratio=0.07", "quant.min_bits=3"},
                      "quant.target_size_ratio: expected at least 0.09375"}),
    testing::PrintToStringParamName());

}  // namespace
}  // namespace bitloom::trainers
