#include "report_files.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bitloom/core/error.h"
#include "bitloom/io/json_rows.h"
#include "support/temp_dir.h"
#include "tools/rows.h"

namespace bitloom::tools {
namespace {

TEST(ReportFiles, EpochsHaveTheirRunAndARepeatedOneCountsOnce) {
  const TempDir dir;
  const std::vector<nlohmann::json> rows = {sample_row("float", 32, 91, 0.4),
                                            sample_row("ptq-static", 8, 90, 0.2),
                                            sample_row("qat", 4, 90, 0.2)};
  std::filesystem::create_directories(dir / "float");
  std::filesystem::create_directories(dir / "qat_w4a4");
  for (const double loss : {0.5, 0.25}) {  // killed behind the row, done again
    io::append_row(dir / "float" / "epochs.jsonl", {{"epoch", 1}, {"loss", loss}});
  }
  io::append_row(dir / "qat_w4a4" / "epochs.jsonl", {{"epoch", 1}, {"loss", 0.125}});
  io::append_row(dir / "qat_w4a4" / "epochs.jsonl", {{"epoch", 2}, {"loss", 0.1}});
  const std::vector<nlohmann::json> epochs = read_epochs(dir.path(), rows);
  ASSERT_EQ(epochs.size(), 3U);
  EXPECT_EQ(epochs[0]["run"], "float");
  EXPECT_EQ(epochs[0]["loss"], 0.25);
  EXPECT_EQ(epochs[2]["run"], "qat_w4a4");
  EXPECT_EQ(epochs[2]["epoch"], 2);
  EXPECT_TRUE(read_layers(dir.path()).empty());
}

TEST(ReportFiles, LayersHoldWhatTheReportReads) {
  trainers::StepsReport report;
  report.images = 64;
  report.steps.push_back({.node = "a.q",
                          .quantizer = "lsq",
                          .is_weight = true,
                          .format = {.bits = 4, .range = {.qmin = -8, .qmax = 7}},
                          .zero_point = 0.0,
                          .least_scale = 0.5,
                          .largest_scale = 1.0,
                          .sqnr_db = std::numeric_limits<double>::infinity(),
                          .outside_percent = 0.5,
                          .low = -9.0,
                          .high = 8.0,
                          .counts = {1, 2}});
  const nlohmann::json row = layers_row("qat_w4a4", "qat w4a4", report);
  const nlohmann::json expected = sample_step("a.q", true, -8, 7);
  for (const auto& [key, value] : expected.items()) {
    EXPECT_TRUE(row["steps"][0].contains(key)) << key;
  }
  EXPECT_TRUE(row["steps"][0]["sqnr_db"].is_null());
  EXPECT_EQ(row["steps"][0]["counts"], nlohmann::json({1, 2}));
  EXPECT_EQ(row["title"], "qat w4a4");
}

}  // namespace
}  // namespace bitloom::tools
