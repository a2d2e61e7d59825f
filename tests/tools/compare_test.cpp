#include "compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/compare_methods.h"

namespace bitloom::tools {
namespace {

TEST(PlanRuns, FloatOnceThenEveryMethodAtEveryWidth) {
  trainers::Config config;
  config.compare.bits = {"w8a8", "w2a4"};
  std::vector<std::string> names;
  const std::vector<PlannedRun> runs = plan_runs(config);
  for (const PlannedRun& run : runs) names.push_back(run.name);
  EXPECT_THAT(names, testing::ElementsAre("float", "ptq-static_w8a8", "ptq-static_w2a4", "qat_w8a8",
                                          "qat_w2a4"));
  EXPECT_EQ(runs[0].config.quant.method, "float");
  EXPECT_EQ(runs[4].config.quant.method, "qat");
  EXPECT_EQ(runs[4].config.quant.weight_bits, 2);
  EXPECT_EQ(runs[4].config.quant.activation_bits, 4);
  EXPECT_EQ(runs[4].title, "qat w2a4");
}

TEST(PlanRuns, FloatComesFirstEvenIfNotListed) {
  trainers::Config config;
  config.compare.methods = {"qat"};
  config.compare.bits = {"w8a8"};
  const std::vector<PlannedRun> runs = plan_runs(config);
  ASSERT_EQ(runs.size(), 2U);
  EXPECT_EQ(runs[0].name, "float");
  EXPECT_EQ(runs[1].name, "qat_w8a8");
}

// Where a method has no grid for activations, widths of activations make no other run.
TEST(PlanRuns, DynamicAndWeightOnlySayTheActivationsTheyHave) {
  trainers::Config config;
  config.quant.asymmetric = true;  // for ptq-static alone
  config.compare.methods = {"ptq-static", "ptq-dynamic", "ptq-weight-only"};
  config.compare.bits = {"w8a8", "w4a8", "w4a4"};
  std::vector<std::string> titles;
  const std::vector<PlannedRun> runs = plan_runs(config);
  for (const PlannedRun& run : runs) titles.push_back(run.title);
  EXPECT_THAT(titles,
              testing::ElementsAre("float", "ptq-static w8a8", "ptq-static w4a8", "ptq-static w4a4",
                                   "ptq-dynamic w8a8", "ptq-dynamic w4a8", "ptq-weight-only w8a32",
                                   "ptq-weight-only w4a32"));
  EXPECT_TRUE(runs[1].config.quant.asymmetric);
  EXPECT_FALSE(runs[4].config.quant.asymmetric);
  EXPECT_EQ(runs[5].config.quant.weight_bits, 4);
  EXPECT_EQ(runs[7].name, "ptq-weight-only_w4a32");
}

TEST(PlanRuns, FloatContinuedIsTheBaselineOfQatOnce) {
  trainers::Config config;
  config.train.qat_epochs = 7;
  config.train.qat_lr = 0.02;
  config.compare.methods = {"float-continued", "qat-pact"};
  const std::vector<PlannedRun> runs = plan_runs(config);
  ASSERT_EQ(runs.size(), 4U);
  EXPECT_EQ(runs[1].name, "float-continued");
  EXPECT_EQ(runs[1].start, "float");
  EXPECT_EQ(runs[1].config.quant.method, "float");
  EXPECT_EQ(runs[1].config.train.epochs, 7);
  EXPECT_EQ(runs[1].config.train.lr, 0.02);
  EXPECT_EQ(runs[2].name, "qat-pact_w8a8");
  EXPECT_EQ(runs[2].method, "qat-pact");
  EXPECT_EQ(runs[2].start, "float");
  EXPECT_EQ(runs[2].config.quant.quantizer, "pact");
}

TEST(PlanRuns, ProgressiveStartsFromTheNextWiderWidth) {
  trainers::Config config;
  config.compare.methods = {"qat-progressive"};
  config.compare.bits = {"w8a8", "w4a4", "w2a2"};
  std::vector<std::string> starts;
  for (const PlannedRun& run : plan_runs(config)) starts.push_back(run.start);
  EXPECT_THAT(starts,
              testing::ElementsAre("", "float", "qat-progressive_w8a8", "qat-progressive_w4a4"));
}

TEST(PlanRuns, KnowsEveryMethodWord) {
  trainers::Config config;
  config.compare.bits = {"w4a4"};
  config.compare.methods.clear();
  for (const trainers::CompareMethod& method : trainers::compare_methods()) {
    config.compare.methods.push_back(method.word);
  }
  EXPECT_EQ(plan_runs(config).size(), config.compare.methods.size());
  config.compare.methods = {"qat-magic"};
  EXPECT_THROW(plan_runs(config), ConfigError);
}

TEST(PlanRuns, RefusesContradictionsBeforeAnythingIsTrained) {
  trainers::Config config;
  config.data.validation_images = 10;
  EXPECT_THROW(plan_runs(config), ConfigError);
}

TEST(RunRecord, RoundTripsAndAbsentMeansEmpty) {
  const std::filesystem::path folder = std::filesystem::path(testing::TempDir()) / "run_record";
  std::filesystem::create_directories(folder);
  std::filesystem::remove(folder / "run.json");
  EXPECT_EQ(load_record(folder).config_hash, "");
  save_record(folder, {.config_hash = "abc", .finished = true, .minutes = 0.1});
  const RunRecord back = load_record(folder);
  EXPECT_EQ(back.config_hash, "abc");
  EXPECT_TRUE(back.finished);
  EXPECT_EQ(back.minutes, 0.1);
  for (const char* broken : {"", "[]", "{\"config_hash\": 3}", "{\"config_hash\": \"a\""}) {
    io::write_whole_file(folder / "run.json", broken);
    EXPECT_THROW(load_record(folder), FormatError) << broken;
  }
}

}  // namespace
}  // namespace bitloom::tools
