// The script that sets ONNX Runtime, OpenVINO and LiteRT beside bitloom's inference: what needs
// none of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

std::string peer_file(const char* name) {
  return std::string(BITLOOM_SOURCE_DIR) + "/tools/peers" + name;
}

/// Standard output of a Python script that finds the folder of the peers in sys.argv[1].
std::string python(const std::string& script) {
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", "-c", "import sys\nsys.path.insert(0, sys.argv[1])\n" + script,
                               peer_file("")},
                 .take_stderr = true});
  return end.output;
}

class InferencePeers : public testing::Test {
 protected:
  void SetUp() override {
    if (!std::filesystem::exists("/usr/bin/python3")) GTEST_SKIP() << "needs Debian's python3";
  }
};

TEST_F(InferencePeers, WhatCannotRunIsARowWithTheReason) {
  const Folder folder;
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", peer_file("/inference.py"), "--bitloom", BITLOOM_PROGRAM,
                               "--python", "/bin/false", "--networks", "squeezenet1_1,lenet6",
                               "--contenders", "openvino-int8", "--batches", "1", "--models",
                               folder / "models", "--json", folder / "rows.jsonl"},
                 .take_stderr = true});
  EXPECT_EQ(end.exit_code, 1) << end.output;
  EXPECT_THAT(end.output, HasSubstr("| squeezenet1_1 | 1 | openvino-int8 | exit code 1 |"));
  const auto rows = rows_of(folder / "rows.jsonl");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["reason"], "exit code 1");
  EXPECT_TRUE(rows[0]["latency_ms_p50"].is_null());
  EXPECT_EQ(rows[0]["method"], "ptq-static");
  EXPECT_THAT(rows[1]["reason"].get<std::string>(), HasSubstr("lenet6"));
}

TEST_F(InferencePeers, RefuseUnknownContenders) {
  const ChildEnd end =
      run_child({.program = "/usr/bin/python3",
                 .arguments = {"-B", peer_file("/inference.py"), "--contenders", "tvm"},
                 .take_stderr = true});
  EXPECT_EQ(end.exit_code, 2) << end.output;
  EXPECT_THAT(end.output, HasSubstr("onnxruntime-static"));
}

// Against the peer's best of each round: 2/1, 2/4 and 6/2 have the median 2. A network that a tool
// could not run leaves its ratio out and the goal open.
TEST_F(InferencePeers, RatioIsTheMedianOverRoundsAndGoalsNeedEveryNetwork) {
  EXPECT_EQ(python(R"(
import argparse
import inference_report as report
def row(network, contender, rounds, batch=1):
    return dict(network=network, contender=contender, batch=batch, rounds=rounds)
of = report.Ratio('t', 'a', ('b', 'c'), {'all': 2.5}, ('m', 'n'), worst=2.0)
report.RATIOS = (of, report.Ratio('u', 'a', ('b',), {'all': 0.5}, ('m',), batch=16, inverse=True))
rows = [row('m', 'a', [2, 2, 6]), row('m', 'b', [1, 4, 9]), row('m', 'c', [3, 5, 2]),
        row('m', 'a', [4], 16), row('m', 'b', [1], 16)]
options = argparse.Namespace(isa='vnni')
for record in report.ratio_records(rows, options, ()):
    print(record['networks'], record['geometric_mean'], record['met'])
rows += [row('n', 'a', [1, 1, 1]), row('n', 'b', [2, 2, 2]), row('n', 'c', [4, 4, 4])]
print(report.ratio_records(rows, options, ())[0]['met'])
rows[-3]['rounds'] = [6, 6, 6]
print(report.ratio_records(rows, options, ())[0]['met'])
)"),
            "{'m': 2.0} 2.0 None\n"
            "{'m': 0.25} 0.25 False\n"
            "True\n"
            "False\n");
}

// One step of each kind: shapes as the graph's, batch norm folded into the convolution before it,
// values of the graph counted before that: 2*1*3*1 + 2*2 + 3*12 + 3.
TEST_F(InferencePeers, GraphsAreFoldedStepByStep) {
  EXPECT_EQ(python(R"(
import graph_text, folded_network
text = '''bitloom-graph 1
input = input(shape=1x5x4)
conv.weight = parameter(shape=2x1x3x1)
conv = conv2d(input, conv.weight, stride=1, pad=1, pad_w=0)
bn = batch_norm(conv)
relu = relu(bn)
pool = max_pool(relu, kernel=2)
drop = dropout(pool)
join = concat(drop, pool)
flat = flatten(join)
fc.weight = parameter(shape=3x16)
fc = linear(flat, fc.weight, bias=1)
'''
network = folded_network.FoldedNetwork(graph_text.parse(text))
print(*[(step.name, step.inputs, step.shape) for step in network.steps], sep='\n')
print(network.parameters, bool(network.steps[1].bias.any()))
try:
    folded_network.FoldedNetwork(graph_text.parse('bitloom-graph 1\na = input(shape=1x1x1)\nb = prelu(a)\n'))
except ValueError as error:
    print(error)
)"),
            "('input', [], (1, 5, 4))\n"
            "('conv', ['input'], (2, 5, 4))\n"
            "('relu', ['conv'], (2, 5, 4))\n"
            "('pool', ['relu'], (2, 2, 2))\n"
            "('join', ['pool', 'pool'], (4, 2, 2))\n"
            "('flat', ['join'], (16,))\n"
            "('fc', ['flat'], (3,))\n"
            "61 True\n"
            "b: no converter knows 'prelu'\n");
}

}  // namespace
}  // namespace bitloom::tools
