// `bitloom bench --training` as the real program, and the script that sets peers beside it.
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

ChildEnd compare_with_peers(const Words& words) {
  const std::string script = std::string(BITLOOM_SOURCE_DIR) + "/tools/peers/training_step.py";
  Words all = {script,       "--bitloom", BITLOOM_PROGRAM,
               "--networks", "resnet8",   "--image-size",
               "8",          "--batch",   "2",
               "--threads",  "1",         "--rounds",
               "1",          "--steps",   "1"};
  all.insert(all.end(), words.begin(), words.end());
  return run_child({.program = "/usr/bin/python3", .arguments = all, .take_stderr = true});
}

// Whatever PyTorch is installed: the interpreter given here fails at once.
TEST(Peers, OneThatFailsIsNamedAndTheOthersAreTimed) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  const Folder folder;
  const ChildEnd end = compare_with_peers(
      {"--python", "/bin/false", "--peers", "torch-float", "--json", folder / "rows.jsonl"});
  EXPECT_EQ(end.exit_code, 1) << end.output;
  EXPECT_THAT(end.output, HasSubstr("| torch-float | failed: exit code 1 |"));
  const auto rows = rows_of(folder / "rows.jsonl");
  ASSERT_EQ(rows.size(), 4U);
  for (std::size_t i = 0; i < 3; ++i) {
    SCOPED_TRACE(rows[i].dump());
    EXPECT_GT(rows[i]["step_ms_p50"].get<double>(), 0.0);
    EXPECT_EQ(rows[i]["round"], 0);
    EXPECT_FALSE(rows[i]["device"].get<std::string>().empty());
    const auto name = rows[i]["contender"].get<std::string>();
    // A contender beside itself: its column's ratio is one.
    EXPECT_THAT(end.output, ::testing::ContainsRegex("\\| " + name + " \\|.* 1\\.00 "));
  }
  EXPECT_EQ(rows[2]["weight_bits"], 4);
  EXPECT_EQ(rows[3]["error"], "exit code 1");
}

TEST(Peers, RatioIsTheMedianOverRounds) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  // Ratios 0.5, 3 and 1; the peer failed in round 2, so round 2 of ours counts for nothing.
  const char* script = R"(
import sys
sys.path.insert(0, sys.argv[1])
import training_step as t
c = t.Comparison.__new__(t.Comparison)
row = lambda who, at, ms: dict(network='n', contender=who, round=at, ms=ms)
c.rows = [row('a', 0, 1), row('a', 1, 6), row('a', 2, 99), row('a', 3, 4),
          row('b', 0, 2), row('b', 1, 2), row('b', 3, 4)]
print(c.ratio('n', 'a', 'b', 'ms'), c.ratio('n', 'a', 'x', 'ms'),
      round(t.geometric_mean([0.5, 8]), 9), t.geometric_mean([1, None])))";
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", "-c", script, BITLOOM_SOURCE_DIR "/tools/peers"},
                 .take_stderr = true});
  EXPECT_EQ(end.output, "1.0 None 2.0 None\n");
}

TEST(Peers, RefuseUnknownPeers) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  const ChildEnd end = compare_with_peers({"--peers", "torch-flat"});
  EXPECT_EQ(end.exit_code, 2) << end.output;
  EXPECT_THAT(end.output, HasSubstr("torch-float-nhwc"));
}

}  // namespace
}  // namespace bitloom::tools
