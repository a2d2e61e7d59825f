// `bitloom bench --training` as the real program, and the script that sets peers beside it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/core/cpu.h"
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
                             "allocations_per_step",
                             "parameters",
                             "phase_ms",
                             "gflop_per_s",
                             "gb_per_s",
                             "peaks"};
  return keys;
}

TEST(Cli, TrainingBenchWritesOneRow) {
  const Folder folder;
  const ChildEnd timed = bitloom(
      {"bench",         "--training", "--network",         "resnet8",    "--method",  "qat",
       "--weight-bits", "4",          "--activation-bits", "4",          "--forward", "integer",
       "--batch",       "4",          "--image-size",      "16",         "--steps",   "2",
       "--threads=1",   "--json",     folder / "row.json", "--per-layer"});
  ASSERT_EQ(timed.exit_code, 0) << timed.output;
  EXPECT_THAT(timed.output, HasSubstr("resnet8"));
  EXPECT_THAT(timed.output, HasSubstr("backward weights"));
  EXPECT_THAT(timed.output, HasSubstr("this machine's peaks"));
  EXPECT_THAT(timed.output, HasSubstr("stem.conv"));
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

TEST(Cli, TrainingBenchRunsInBf16) {
  const Folder folder;
  const ChildEnd timed = bitloom({"bench", "--training", "--network", "resnet8", "--method", "qat",
                                  "--precision", "bf16", "--batch", "4", "--image-size", "16",
                                  "--steps", "2", "--threads=1", "--json", folder / "row.json"});
  if (!has_bf16(effective_isa())) {
    EXPECT_EQ(timed.exit_code, 2);
    EXPECT_THAT(timed.output, HasSubstr("train.precision"));
    return;
  }
  ASSERT_EQ(timed.exit_code, 0) << timed.output;
  const auto rows = rows_of(folder / "row.json");
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_EQ(rows[0]["precision"], "bf16");
  EXPECT_EQ(rows[0]["allocations_per_step"], 0.0);
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
  expect_bad({"--layer", "linear:c8,o2"}, "--layer");
  expect_bad({"--weight-bits", "4"}, "--method qat");
  expect_bad({"--method", "qat", "--activation-bits", "1"}, "2 .. 8");
  expect_bad({"--steps", "0"}, "--steps");
  expect_bad({"--batch", "many"}, "train.batch");
  expect_bad({"--precision", "f16"}, "train.precision");
  if (detected_isa() > Isa::kAvx2) {
    expect_bad({"--precision", "bf16", "--isa=avx2"}, "AVX512-BF16 or AMX");
  }
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
  const ChildEnd end =
      compare_with_peers({"--python", "/bin/false", "--peers", "torch-float", "--json",
                          folder / "rows.jsonl", "--ratios", folder / "ratios.jsonl"});
  EXPECT_EQ(end.exit_code, 1) << end.output;
  EXPECT_THAT(end.output, HasSubstr("| torch-float | failed: exit code 1 |"));
  const auto rows = rows_of(folder / "rows.jsonl");
  const std::size_t ours = rows.size() - 1;
  ASSERT_TRUE(ours == 3 || ours == 6) << "with and without bf16: " << rows.size();
  for (std::size_t i = 0; i < ours; ++i) {
    SCOPED_TRACE(rows[i].dump());
    EXPECT_GT(rows[i]["step_ms_p50"].get<double>(), 0.0);
    EXPECT_EQ(rows[i]["round"], 0);
    EXPECT_EQ(rows[i]["parameters"], rows[0]["parameters"]);
    EXPECT_FALSE(rows[i]["device"].get<std::string>().empty());
    const auto name = rows[i]["contender"].get<std::string>();
    // A contender beside itself: its column's ratio is one.
    EXPECT_THAT(end.output, ::testing::ContainsRegex("\\| " + name + " \\|.* 1\\.00 "));
  }
  EXPECT_EQ(rows[2]["weight_bits"], 4);
  EXPECT_EQ(rows[ours]["error"], "exit code 1");
  EXPECT_THAT(end.output, HasSubstr("| W8A8 step / our float step |"));
  EXPECT_THAT(end.output, ::testing::Not(HasSubstr("Brevitas W8A8 step |")))
      << "a ratio of nobody who took part";
  const auto ratios = rows_of(folder / "ratios.jsonl");
  ASSERT_EQ(ratios.size() % 2, 0U) << "one network and a mean for each ratio";
  for (const nlohmann::json& record : ratios) {
    if (record["ratio"] != "W8A8 step / our float step" || record["network"].is_null()) continue;
    EXPECT_EQ(record["network"], "resnet8");
    EXPECT_EQ(record["rounds"].size(), 1U);
    EXPECT_GT(record["median"].get<double>(), 0.0);
  }
}

TEST(Peers, RatioIsTheMedianOverRounds) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  // Ratios 0.5, 3 and 1; the peer failed in round 2, so round 2 of ours counts for nothing. Of two
  // layouts the better one of a round counts: ratios 1 (1/1), 3 (6/2) and 2 (4/2).
  const char* script = R"(
import sys
sys.path.insert(0, sys.argv[1])
import training_step as t
c = t.Comparison.__new__(t.Comparison)
n = t.Network('n', 8, 2)
row = lambda who, at, ms: dict(network='n', image_size=8, batch=2, contender=who, round=at, ms=ms)
other = dict(row('a', 0, 99), batch=3)
c.rows = [row('a', 0, 1), row('a', 1, 6), row('a', 2, 99), row('a', 3, 4),
          row('b', 0, 2), row('b', 1, 2), row('b', 3, 4), other,
          row('c', 0, 1), row('c', 1, 9), row('c', 3, 2)]
print(c.ratio(n, 'a', ['b'], 'ms'), c.ratio(n, 'a', ['b', 'c'], 'ms'), c.ratio(n, 'a', ['x'], 'ms'),
      round(t.geometric_mean([0.5, 8]), 9), t.geometric_mean([1, None])))";
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", "-c", script, BITLOOM_SOURCE_DIR "/tools/peers"},
                 .take_stderr = true});
  EXPECT_EQ(end.output, "1.0 2.0 None 2.0 None\n");
}

TEST(Peers, NetworksNameSideAndBatchAndMustBeTheSame) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  const char* script = R"(
import argparse, sys
sys.path.insert(0, sys.argv[1])
import training_step as t
o = argparse.Namespace(image_size=None, batch=128)
print(*[t.network_of(word, o) for word in ('lenet5', 'resnet20:7', 'resnet18@224:16', 'alexnet@64')],
      sep='; ')
for word in ('@224', 'a:0', 'a:b'):
    try:
        print(t.network_of(word, o))
    except ValueError as error:
        print(error)
c = t.Comparison.__new__(t.Comparison)
c.parameters = {}
c.require_same_network('n', dict(parameters=5))
c.require_same_network('m', dict(parameters=6))
try:
    c.require_same_network('n', dict(parameters=6))
except t.Failure as failure:
    print(failure))";
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", "-c", script, BITLOOM_SOURCE_DIR "/tools/peers"},
                 .take_stderr = true});
  EXPECT_EQ(end.output,
            "lenet5@28, batch 128; resnet20@32, batch 7; resnet18@224, batch 16; "
            "alexnet@64, batch 128\n"
            "expected NAME[@SIDE][:BATCH], found '@224'\n"
            "expected 1 pixel and image or more, found 'a:0'\n"
            "expected NAME[@SIDE][:BATCH], found 'a:b'\n"
            "another network: 6 parameters instead of 5\n");
}

TEST(Cli, LayerBenchTimesAndChecksOneLayer) {
  const Folder folder;
  const ChildEnd timed =
      bitloom({"bench", "--layer", "conv2d:c16,h8,o8,k3,p1 linear:n2,c64,o10", "--kernel",
               "float,int8", "--runs", "3", "--threads=1", "--json", folder / "rows.json"});
  ASSERT_EQ(timed.exit_code, 0) << timed.output;
  EXPECT_THAT(timed.output, HasSubstr("identical"));
  const auto rows = rows_of(folder / "rows.json");
  ASSERT_EQ(rows.size(), 4U);
  for (const nlohmann::json& row : rows) {
    for (const char* key :
         {"latency_ms_p50", "gmac_per_s", "implementation", "parity_identical", "isa", "threads"}) {
      EXPECT_TRUE(row.contains(key)) << key;
    }
  }
  EXPECT_EQ(rows[3]["problem"], "linear:n2,c64,o10");
  EXPECT_EQ(rows[3]["parity_identical"], 1.0);
}

TEST(Cli, LayerBenchNamesWhatIsWrong) {
  const auto expect_bad = [](Words words, const std::string& part) {
    words.insert(words.begin(), "bench");
    const ChildEnd end = bitloom(words);
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_THAT(end.output, HasSubstr(part));
  };
  expect_bad({"--layer", "conv2d:c8"}, "a size h");
  expect_bad({"--layer", "linear:c8,o2", "--kernel", "int3"}, "float, int8, binary, ternary");
  expect_bad({"--layer", "linear:c8,o2", "--batch", "2"}, "nothing beside --layer");
  expect_bad({"--layer", "linear:c8,o2", "--steps", "2"}, "--training");
  expect_bad({"--kernel", "int8"}, "--layer beside it");
  // A backend that cannot run the layer says why.
  expect_bad({"--layer", "linear:c8,o2", "--kernel", "float", "--backend", "xnor"},
             "activations are real");
}

TEST(Peers, RefuseUnknownPeers) {
  if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  const ChildEnd end = compare_with_peers({"--peers", "torch-flat"});
  EXPECT_EQ(end.exit_code, 2) << end.output;
  EXPECT_THAT(end.output, HasSubstr("torch-float-nhwc"));
}

}  // namespace
}  // namespace bitloom::tools
