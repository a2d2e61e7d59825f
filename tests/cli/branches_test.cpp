// A network from a graph text with every kind of layer that classical CNNs have, through the whole
// program with zero points.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/io/whole_file.h"
#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

constexpr const char* kBranches = R"(bitloom-graph 1
input = input(shape=1x12x12)
stem.weight = parameter(shape=8x1x3x3)
stem = conv2d(input, stem.weight, stride=2, pad=1)
stem.bn = batch_norm(stem)
stem.act = relu6(stem.bn)
dw.weight = parameter(shape=8x1x3x3)
dw = conv2d(stem.act, dw.weight, pad=1, groups=8)
dw.bn = batch_norm(dw)
point.weight = parameter(shape=8x8x1x1)
point = conv2d(dw.bn, point.weight)
point.bn = batch_norm(point)
point.act = hardtanh(point.bn, low=-2, high=2)
avg = avg_pool(stem.act, kernel=3, stride=1, pad=1)
cat = concat(point.act, avg, dw.bn)
drop = dropout(cat, ratio=0.1)
tail.weight = parameter(shape=16x24x3x3)
tail = conv2d(drop, tail.weight, stride=2, pad=1)
tail.bn = batch_norm(tail)
tail.act = relu(tail.bn)
last.weight = parameter(shape=4x16x1x1)
last = conv2d(tail.act, last.weight, bias=1)
gap = global_avg_pool(last)
logits = flatten(gap)
)";

TEST(Cli, BranchesWithZeroPointsRunAsTheyWereTrained) {
  const Folder folder;
  io::write_whole_file(folder / "branches.net", kBranches);
  const std::string file = "--model.file=" + (folder / "branches.net");
  const ChildEnd trained = bitloom(train_words(folder / "float", {file, "--train.epochs=4"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const std::string run = folder / "qat";
  const ChildEnd qat = bitloom(
      train_words(run, {file, "--init", folder / "float/checkpoint.h5", "--quant.method=qat",
                        "--quant.asymmetric=true", "--train.epochs=1", "--train.lr=0.005"}));
  ASSERT_EQ(qat.exit_code, 0) << qat.output;
  const std::string model = run + "/model.h5";
  const ChildEnd exported =
      bitloom({"export", "--checkpoint", run + "/checkpoint.h5", "--out", model});
  ASSERT_EQ(exported.exit_code, 0) << exported.output;
  const ChildEnd inspected = bitloom({"inspect", model, "--text"});
  EXPECT_THAT(inspected.output, HasSubstr("joined=1"));
  EXPECT_THAT(inspected.output, HasSubstr("zero_point="));
  const ChildEnd evaluated = bitloom(
      {"eval", "--model", model, "--backend", "onednn", "--parity", "--json", run + "/eval.json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const nlohmann::json row = rows_of(run + "/eval.json").at(0);
  EXPECT_EQ(row["parity_identical"], 1.0);
  EXPECT_GT(row["top1"].get<double>(), 60.0);  // chance is 25
}

}  // namespace
}  // namespace bitloom::tools
