// A disk that is full at any write: what was saved before is whole, the error says why, the exit
// code is 2, no temporary file stays, and with room again the run goes on to the same end.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <map>

#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "cli/program.h"
#include "cli/same_run.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

/// Runs the program with the disk full from write `at` on (0: never). @return its end and how many
/// writes it made.
struct FullDiskEnd {
  ChildEnd end;
  int writes = 0;
};
FullDiskEnd run_on_full_disk(const Words& words, int at, const std::string& count_file) {
  fs::remove(count_file);
  ::setenv("LD_PRELOAD", BITLOOM_FULL_DISK, 1);
  ::setenv("FULL_DISK_AT", std::to_string(at).c_str(), 1);
  ::setenv("FULL_DISK_COUNT", count_file.c_str(), 1);
  FullDiskEnd result{bitloom(words), 0};
  for (const char* name : {"LD_PRELOAD", "FULL_DISK_AT", "FULL_DISK_COUNT"}) ::unsetenv(name);
  if (fs::exists(count_file)) result.writes = static_cast<int>(fs::file_size(count_file));
  return result;
}

/// Content of every file under `folder`, by path.
std::map<std::string, std::string> content_of(const std::string& folder) {
  std::map<std::string, std::string> content;
  for (const auto& entry : fs::recursive_directory_iterator(folder)) {
    if (entry.is_regular_file()) {
      content[entry.path().string()] = io::read_whole_file(entry.path());
    }
  }
  return content;
}

std::vector<std::string> temporary_files(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& [path, content] : content_of(folder)) {
    if (path.ends_with(".tmp")) found.push_back(path);
  }
  return found;
}

/// The interposed library comes before a sanitizer's, which then refuses to start.
bool sanitized() {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  return true;
#else
  return false;
#endif
}

TEST(FullDisk, TrainingKeepsItsCheckpointAndGoesOn) {
  if (sanitized()) GTEST_SKIP() << "a preloaded library and a sanitizer's do not go together";
  const Folder folder;
  const Words more = {"--train.epochs=2", "--train.checkpoint_steps=8", "--quiet"};
  const std::string whole = folder / "whole";
  const FullDiskEnd room = run_on_full_disk(train_words(whole, more), 0, folder / "count");
  ASSERT_EQ(room.end.exit_code, 0) << room.end.output;
  ASSERT_GE(room.writes, 12);  // configuration, four checkpoints, two rows, each with its fsync

  for (int at = 1; at <= room.writes; ++at) {
    SCOPED_TRACE(cat("full at write ", at));
    const std::string cut = folder / cat("cut", at);
    const FullDiskEnd full = run_on_full_disk(train_words(cut, more), at, folder / "count");
    EXPECT_EQ(full.end.exit_code, 2) << full.end.output;
    EXPECT_THAT(full.end.output, HasSubstr("No space left on device"));
    EXPECT_THAT(temporary_files(cut), IsEmpty());
    const std::string checkpoint = cut + "/checkpoint.h5";
    const bool saved = fs::exists(checkpoint);
    if (saved) {
      EXPECT_GT(io::load_archive(checkpoint).tensors().size(), 10U);
    }
    EXPECT_EQ(saved, at > 4) << "the first checkpoint is the third and fourth write";
    const ChildEnd resumed =
        bitloom(saved ? Words{"train", "--resume", cut, "--quiet"} : train_words(cut, more));
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    expect_same_tensors(whole + "/checkpoint.h5", checkpoint);
    fs::remove_all(cut);
  }
}

TEST(FullDisk, WhatIsWrittenAnewStaysAsItWas) {
  if (sanitized()) GTEST_SKIP() << "a preloaded library and a sanitizer's do not go together";
  const Folder folder;
  const std::string run = folder / "run";
  const std::string checkpoint = run + "/checkpoint.h5";
  ASSERT_EQ(bitloom(train_words(run, {"--train.epochs=1"})).exit_code, 0);
  const std::vector<Words> commands = {
      {"quantize", "--checkpoint", checkpoint, "--method", "ptq-static", "--out", run + "/ptq.h5"},
      {"export", "--checkpoint", checkpoint, "--out", run + "/model.h5"},
      {"eval", "--model", run + "/model.h5", "--logits", run + "/logits.h5"},
      {"eval", "--model", run + "/model.h5", "--json", run + "/rows.jsonl"}};
  for (const Words& command : commands) {
    SCOPED_TRACE(cat(command[0], " ", command.back()));
    ASSERT_EQ(bitloom(command).exit_code, 0);
    const auto before = content_of(run);
    ASSERT_TRUE(before.contains(command.back()));
    for (const int at : {1, 2}) {  // the write and its fsync
      const FullDiskEnd full = run_on_full_disk(command, at, folder / "count");
      EXPECT_EQ(full.end.exit_code, 2) << full.end.output;
      EXPECT_THAT(full.end.output, HasSubstr("No space left on device"));
      EXPECT_THAT(full.end.output, HasSubstr(command.back()));
      EXPECT_EQ(content_of(run), before);
    }
  }
}

TEST(FullDisk, AComparisonKeepsItsTablesAndReport) {
  if (sanitized()) GTEST_SKIP() << "a preloaded library and a sanitizer's do not go together";
  const Folder folder;
  const std::string out = folder / "cmp";
  Words words = {"compare",
                 "--config",
                 tiny_config(),
                 "--out",
                 out,
                 "--train.epochs=1",
                 "--compare.methods=ptq-static",
                 "--compare.latency_runs=2"};
  ASSERT_EQ(bitloom(words).exit_code, 0);
  words.push_back("--reuse");
  const FullDiskEnd room = run_on_full_disk(words, 0, folder / "count");
  ASSERT_EQ(room.end.exit_code, 0) << room.end.output;
  ASSERT_GE(room.writes, 6);  // rows.jsonl, layers.jsonl, report.html
  for (int at = 1; at <= room.writes; ++at) {
    SCOPED_TRACE(cat("full at write ", at));
    const FullDiskEnd full = run_on_full_disk(words, at, folder / "count");
    EXPECT_EQ(full.end.exit_code, 2) << full.end.output;
    EXPECT_THAT(full.end.output, HasSubstr("No space left on device"));
    EXPECT_THAT(temporary_files(out), IsEmpty());
    EXPECT_EQ(rows_of(out + "/rows.jsonl").size(), 2U);
    EXPECT_EQ(rows_of(out + "/layers.jsonl").size(), 1U);
    EXPECT_THAT(io::read_whole_file(out + "/report.html"), HasSubstr("</html>"));
  }
}

}  // namespace
}  // namespace bitloom::tools
