// Same seed, same losses; a run that is interrupted and resumed ends as if it never had been.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <csignal>
#include <thread>

#include "bitloom/io/hdf5_archive.h"
#include "cli/program.h"
#include "cli/same_run.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

/// Waits until the run has finished an epoch, then presses Ctrl-C.
ChildEnd interrupt(const Words& words, const std::string& epochs_file) {
  ChildProcess child(program(words));
  const auto give_up = std::chrono::steady_clock::now() + std::chrono::minutes(2);
  while (!std::filesystem::exists(epochs_file) && std::chrono::steady_clock::now() < give_up) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  child.send(SIGINT);
  return child.wait();
}

class Resume : public testing::TestWithParam<std::string> {};

TEST_P(Resume, EndsInTheSameTensors) {
  const Folder folder;
  const Words more = {"--quant.method=" + GetParam(), "--train.epochs=8"};
  ASSERT_EQ(bitloom(train_words(folder / "whole", more)).exit_code, 0);
  const ChildEnd stopped =
      interrupt(train_words(folder / "cut", more), folder / "cut/epochs.jsonl");
  ASSERT_EQ(stopped.exit_code, 130) << stopped.output;
  EXPECT_THAT(stopped.output, HasSubstr("--resume"));
  EXPECT_LT(io::load_archive(folder / "cut/checkpoint.h5").integer("", "epoch"), 8);

  const ChildEnd resumed = bitloom({"train", "--resume", folder / "cut"});
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  expect_same_tensors(folder / "whole/checkpoint.h5", folder / "cut/checkpoint.h5");
  const auto whole = rows_of(folder / "whole/epochs.jsonl");
  const auto cut = rows_of(folder / "cut/epochs.jsonl");
  ASSERT_EQ(whole.size(), 8U);
  ASSERT_EQ(cut.size(), 8U);
  for (std::size_t i = 0; i < whole.size(); ++i) {
    EXPECT_EQ(whole[i]["loss"], cut[i]["loss"]);
    EXPECT_EQ(whole[i]["validation_top1"], cut[i]["validation_top1"]);
  }
}

INSTANTIATE_TEST_SUITE_P(Methods, Resume, testing::Values("float", "qat"),
                         [](const auto& param) { return param.param; });

TEST(Train, SameSeedSameLossesOtherSeedOthers) {
  const Folder folder;
  for (const std::string& name : {std::string("a"), std::string("b")}) {
    ASSERT_EQ(bitloom(train_words(folder / name, {"--train.epochs=1"})).exit_code, 0);
  }
  ASSERT_EQ(bitloom(train_words(folder / "c", {"--train.epochs=1", "--seed=2"})).exit_code, 0);
  const nlohmann::json loss = rows_of(folder / "a/epochs.jsonl").at(0)["loss"];
  EXPECT_EQ(loss, rows_of(folder / "b/epochs.jsonl").at(0)["loss"]);
  EXPECT_NE(loss, rows_of(folder / "c/epochs.jsonl").at(0)["loss"]);
  expect_same_tensors(folder / "a/checkpoint.h5", folder / "b/checkpoint.h5");
}

TEST(Compare, InterruptedGoesOnWithReuse) {
  const Folder folder;
  Words words = {"compare",
                 "--config",
                 tiny_config(),
                 "--out",
                 folder / "cmp",
                 "--train.epochs=6",
                 "--compare.methods=float",
                 "--compare.latency_runs=2"};
  const ChildEnd stopped = interrupt(words, folder / "cmp/float/epochs.jsonl");
  ASSERT_EQ(stopped.exit_code, 130) << stopped.output;
  words.push_back("--reuse");
  const ChildEnd resumed = bitloom(words);
  ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
  EXPECT_EQ(rows_of(folder / "cmp/float/epochs.jsonl").size(), 6U);
}

}  // namespace
}  // namespace bitloom::tools
