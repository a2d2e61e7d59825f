// Graph texts, configurations and rows that somebody made to do harm, or that are none at all.
#include <sys/stat.h>

#include "bitloom/io/whole_file.h"
#include "cli/hostile.h"

namespace bitloom::tools {
namespace {

struct HostileText {
  const char* name;
  std::string text;
  std::vector<std::string> parts;
};

/// What is wrong as any text: control characters, bytes that are no UTF-8, size.
std::vector<HostileText> any_texts() {
  std::string bytes;
  for (int i = 0; i < 5120; ++i) bytes += static_cast<char>(i);
  return {
      {"zeros", std::string(1000, '\0'), {"\\x00\\x00", "... (1002 bytes)"}},
      {"every byte", bytes, {"\\x00\\x01\\x02"}},
      {"terminal controls", "\x1b]0;you\x07\x1b[2J", {"\\x1b]0;you\\x07\\x1b[2J"}},
      {"one long line", std::string(1 << 20, 'x'), {"xxx... (1048578 bytes)"}},
      {"too much", std::string(65 << 20, '\n'), {"at most 1048576 bytes, found 68157440"}},
  };
}

TEST(HostileText, GraphIsRefused) {
  const Folder folder;
  const std::string head = "bitloom-graph 1\nx = input(shape=1x12x12)\n";
  const std::string tail = "f = flatten(c)\nw2 = parameter(shape=4x144)\nl = linear(f, w2)\n";
  const auto conv = [&](const std::string& shape, const std::string& options) {
    return head + "w = parameter(shape=" + shape + ")\nc = conv2d(x, w" + options + ")\n" + tail;
  };
  std::string many = head + "n0 = relu(x)\n";
  for (int i = 1; i < 40000; ++i) many += cat("n", i, " = relu(n", i - 1, ")\n");
  std::vector<HostileText> table = {
      {"empty", "", {"expected 'bitloom-graph 1' and at least one node"}},
      {"newer",
       "bitloom-graph 2\nx = input(shape=1x12x12)\n",
       {"bad.net:1: ", "found 2; update bitloom"}},
      {"torn", head + "w = parameter(shape=", {"bad.net:3: "}},
      {"itself", head + "a = relu(a)\n", {"bad.net:3: a: ", "found 'a'"}},
      {"twice", head + "x = relu(x)\n", {"bad.net:3: x: "}},
      {"operation",
       head + "c = rm_rf(x)\n" + tail,
       {"c: expected one of the operations", "'rm_rf'"}},
      {"attribute", conv("1x1x1x1", ", pda=2"), {"c: expected attributes of conv2d", "'pda'"}},
      {"shape bomb", conv("999999999x1x5x5", ""), {"[999999999, 1, 5, 5]", "95367 MiB"}},
      {"shape overflow", conv("4294967296x4294967296x1x1", ""), {"at most 2^40 elements"}},
      {"shape of 70 bits", conv("999999999999999999999x1x5x5", ""), {"w: attribute shape"}},
      {"negative shape", conv("-1x1x5x5", ""), {"w: attribute shape", "'-1x1x5x5'"}},
      {"padding bomb", conv("1x1x5x5", ", pad=1000000000"), {"2^40 elements"}},
      {"padding of 70 bits", conv("1x1x5x5", ", pad=999999999999999999999"), {"c: attribute pad"}},
      {"stride", conv("1x1x1x1", ", stride=0"), {"c: ", "stride"}},
      {"long stride", conv("1x1x1x1", ", stride=1000000000000"), {"convolution of"}},
      {"groups", conv("1x1x1x1", ", groups=0"), {"c: ", "groups"}},
      {"infinite", head + "c = batch_norm(x, epsilon=1e999)\n" + tail, {"c: attribute epsilon"}},
      {"many nodes", many, {"bad.net:", "at most 10000 nodes"}},
  };
  for (HostileText& any : any_texts()) {
    any.parts.push_back("bad.net");
    table.push_back(std::move(any));
  }
  for (const HostileText& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(folder / "bad.net", hostile.text);
    expect_refused(train_words(folder / "run", {"--model.file", folder / "bad.net"}),
                   hostile.parts);
  }
}

TEST(HostileText, ConfigurationIsRefused) {
  const Folder folder;
  std::string unknown;
  for (int i = 0; i < 20000; ++i) unknown += cat("key", i, " = 1\n");
  std::vector<HostileText> table = {
      {"no value", "seed\n", {":1: expected 'key = value'"}},
      {"section never closed", "[train\nepochs = 1\n", {":1: expected 'key = value'"}},
      {"twice", "seed = 1\nseed = 2\n", {":2: expected each key once"}},
      {"many digits", "seed = " + std::string(100000, '9'), {":1: seed: expected", "bytes)"}},
      {"not a number", "[train]\nlr = nan\n", {":2: train.lr: expected"}},
      {"negative", "[train]\nbatch = -1\n", {":2: train.batch: expected"}},
      {"of 70 bits", "[train]\nbatch = 999999999999999999999\n", {":2: train.batch: expected"}},
      {"many keys", unknown, {"20000 errors in the configuration, the first 20:", ":20: "}},
  };
  for (HostileText& any : any_texts()) table.push_back(std::move(any));
  for (const HostileText& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(folder / "bad.cfg", hostile.text);
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(folder / "bad.cfg");
    expect_refused({"train", "--config", folder / "bad.cfg", "--out", folder / "run"}, parts);
  }
}

// A named pipe without a writer, a device without an end.
TEST(HostileText, WhatIsNoFileIsRefused) {
  const Folder folder;
  ASSERT_EQ(mkfifo((folder / "pipe").c_str(), 0600), 0);
  for (const std::string& path : {folder / "pipe", std::string("/dev/zero"), folder / ""}) {
    const std::vector<std::string> parts = {path, "expected a regular file, found a "};
    expect_refused({"train", "--config", path, "--out", folder / "run"}, parts);
    expect_refused({"inspect", path}, parts);
    expect_refused(train_words(folder / "run", {"--model.file", path}), parts);
  }
}

TEST(HostileText, RowsAreRefused) {
  const Folder folder;
  const std::string row = R"({"network": "a", "device": "b", "isa": "c", "method": "d"})";
  const std::vector<HostileText> table = {
      {"empty", "", {"rows of bench --suite, found none"}},
      {"bytes", "\xff\xfe\x1b[2J\n", {":1: expected a JSON object", "\\xff\\xfe\\x1b"}},
      {"a list", row + "\n[1]\n", {":2: expected a JSON object, found [1]; remove the line"}},
      {"not a number", "{\"top1\": NaN}\n", {":1: expected a JSON object"}},
      {"deep", std::string(3 << 20, '[') + "\n", {":1: expected a JSON object"}},
      {"long", std::string(5 << 20, '[') + "\n", {":1: expected a row of at most 4194304 bytes"}},
      {"other rows", "{\"a\": 1}\n", {"row 1: expected texts 'network'", "{\"a\":1}"}},
      {"numbers for texts",
       "{\"network\": 1, \"device\": 2, \"isa\": 3}\n",
       {"row 1: expected texts"}},
      {"no method", R"({"network": "a", "device": "b", "isa": "c"})", {"'method'"}},
      {"layers", row.substr(0, row.size() - 1) + ", \"layers\": 5}\n", {"a list 'layers'"}},
  };
  for (const HostileText& hostile : table) {
    SCOPED_TRACE(hostile.name);
    io::write_whole_file(folder / "rows.jsonl", hostile.text);
    std::vector<std::string> parts = hostile.parts;
    parts.push_back(folder / "rows.jsonl");
    expect_refused({"report", folder / "rows.jsonl"}, parts);
  }
  io::write_whole_file(folder / "rows.jsonl", row + "\n");
  EXPECT_EQ(limited({"report", folder / "rows.jsonl"}).exit_code, 0);  // the frame is sound
}

}  // namespace
}  // namespace bitloom::tools
