// `bitloom bench --training` as the real program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

/// Keys of a row that later work depends on.
const Words& training_row_keys() {
  static const Words keys = {"network",
                             "method",
                             "weight_bits",
                             "activation_bits",
                             "forward",
                             "precision",
                             "batch",
                             "threads",
                             "step_ms_p50",
                             "images_per_second",
                             "peak_memory_bytes",
                             "allocations_per_step"};
  return keys;
}

TEST(Cli, TrainingBenchWritesOneRow) {
  const Folder folder;
  const ChildEnd timed = bitloom(
      {"bench",         "--training", "--network",         "resnet8", "--method",  "qat",
       "--weight-bits", "4",          "--activation-bits", "4",       "--forward", "integer",
       "--batch",       "4",          "--image-size",      "16",      "--steps",   "2",
       "--threads=1",   "--json",     folder / "row.json"});
  ASSERT_EQ(timed.exit_code, 0) << timed.output;
  EXPECT_THAT(timed.output, HasSubstr("resnet8"));
  const auto rows = rows_of(folder / "row.json");
  ASSERT_EQ(rows.size(), 1U);
  const nlohmann::json& row = rows[0];
  for (const std::string& key : training_row_keys()) EXPECT_TRUE(row.contains(key)) << key;
  EXPECT_EQ(row["threads"], 1);
  EXPECT_GT(row["step_ms_p50"].get<double>(), 0.0);
  // Above start-up: parameters, momenta and four batches of images at the least.
  EXPECT_GT(row["peak_memory_bytes"].get<double>(), 1e6);
  EXPECT_EQ(row["allocations_per_step"], 0.0);
}

TEST(Cli, TrainingBenchNamesWhatIsWrong) {
  const auto expect_bad = [](Words words, const std::string& part) {
    words.insert(words.begin(), {"bench", "--training"});
    const ChildEnd end = bitloom(words);
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_THAT(end.output, HasSubstr(part));
  };
  expect_bad({"--network", "lenet6"}, "lenet5");
  expect_bad({"--model", "x.h5"}, "--model");
  expect_bad({"--weight-bits", "4"}, "--method qat");
  expect_bad({"--method", "qat", "--activation-bits", "1"}, "2 .. 8");
  expect_bad({"--steps", "0"}, "--steps");
  expect_bad({"--batch", "many"}, "train.batch");
}

}  // namespace
}  // namespace bitloom::tools
