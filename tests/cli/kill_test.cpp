// A training run that dies at any moment, while it writes a checkpoint too, goes on to the same
// end. BITLOOM_KILLS=N kills so many runs (3 without it), BITLOOM_KILL_SEED chooses the moments:
// tools/kill_test.sh.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <iostream>
#include <map>
#include <thread>

#include "bitloom/core/random.h"
#include "cli/program.h"
#include "cli/same_run.h"

namespace bitloom::tools {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr double kGiveUpSeconds = 60.0;
constexpr double kAimedSeconds = 2e-3;  // about what a checkpoint's write, fsync and rename take

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::uint64_t number_in_environment(const char* name, std::uint64_t otherwise) {
  const char* text = std::getenv(name);
  return text == nullptr ? otherwise : std::strtoull(text, nullptr, 10);
}

/// Counts the temporary files that appear in a folder: writes that have begun.
class WriteWatch {
 public:
  explicit WriteWatch(const std::string& folder) : descriptor_(inotify_init1(IN_CLOEXEC)) {
    EXPECT_GE(inotify_add_watch(descriptor_, folder.c_str(), IN_CREATE), 0);
  }
  ~WriteWatch() { close(descriptor_); }
  WriteWatch(const WriteWatch&) = delete;
  WriteWatch& operator=(const WriteWatch&) = delete;

  /// True once `count` checkpoints have begun to be written; false after kGiveUpSeconds.
  bool wait_for(int count) {
    const Clock::time_point begin = Clock::now();
    alignas(inotify_event) std::array<char, 4096> buffer;
    while (seconds_since(begin) < kGiveUpSeconds) {
      pollfd ready{descriptor_, POLLIN, 0};
      if (poll(&ready, 1, 100) <= 0) continue;
      const ssize_t size = read(descriptor_, buffer.data(), buffer.size());
      for (ssize_t at = 0; at < size;) {
        const auto* event = reinterpret_cast<const inotify_event*>(buffer.data() + at);
        const std::string name = event->len > 0 ? event->name : "";
        if (name.starts_with(".checkpoint.h5.") && --count <= 0) return true;
        at += static_cast<ssize_t>(sizeof(inotify_event)) + event->len;
      }
    }
    return false;
  }

 private:
  int descriptor_;
};

Words run_words(const std::string& out) {
  return train_words(
      out, {"--quant.method=qat", "--train.epochs=3", "--train.checkpoint_steps=2", "--quiet"});
}

struct Kill {
  bool aimed = false;          ///< inside the writing of a checkpoint
  int write = 1;               ///< which one, where aimed
  double delay_seconds = 0.0;  ///< from the start, or from the moment at which the file appears
};

/// Half at any moment of a run of `seconds`, half within kAimedSeconds after a write began.
Kill choose(std::uint64_t seed, std::uint64_t index, double seconds, int writes) {
  const RandomStream stream(seed, cat("kill", index));
  Kill kill;
  kill.aimed = index % 2 == 1;
  kill.write = 1 + static_cast<int>(stream.below(0, static_cast<std::uint32_t>(writes)));
  kill.delay_seconds = stream.uniform(1) * (kill.aimed ? kAimedSeconds : seconds);
  return kill;
}

/// @return whether the run was still on its way.
bool run_until(const Words& words, const std::string& folder, const Kill& kill) {
  WriteWatch watch(folder);
  ChildProcess child(program(words));
  if (kill.aimed) {
    EXPECT_TRUE(watch.wait_for(kill.write));
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(kill.delay_seconds));
  child.send(SIGKILL);
  return child.wait().signal == SIGKILL;
}

std::vector<std::string> temporary_files(const std::string& folder) {
  std::vector<std::string> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() == ".tmp") found.push_back(entry.path().filename().string());
  }
  return found;
}

/// Loss of every epoch; the last one that a file tells, where a run was killed behind its row.
std::map<int, double> losses_of(const std::string& folder) {
  std::map<int, double> losses;
  for (const nlohmann::json& row : rows_of(folder + "/epochs.jsonl")) {
    losses[row.at("epoch").get<int>()] = row.at("loss").get<double>();
  }
  return losses;
}

TEST(Kill, RunsResumeBitForBit) {
  const Folder folder;
  const std::string whole = folder / "whole";
  fs::create_directories(whole);
  const Clock::time_point begin = Clock::now();
  ASSERT_EQ(bitloom(run_words(whole)).exit_code, 0);
  const double seconds = seconds_since(begin);
  const int writes = 3 * 8;  // epochs of 16 steps, a checkpoint after every second

  const std::uint64_t kills = number_in_environment("BITLOOM_KILLS", 3);
  const std::uint64_t seed = number_in_environment("BITLOOM_KILL_SEED", 1);
  int landed = 0;
  int inside_a_write = 0;
  int before_the_first = 0;
  for (std::uint64_t i = 0; i < kills; ++i) {
    const Kill kill = choose(seed, i, seconds, writes);
    SCOPED_TRACE(cat("kill ", i, kill.aimed ? cat(" in write ", kill.write) : std::string(),
                     " after ", kill.delay_seconds, " s"));
    const std::string cut = folder / cat("cut", i);
    fs::create_directories(cut);
    landed += run_until(run_words(cut), cut, kill) ? 1 : 0;
    inside_a_write += temporary_files(cut).empty() ? 0 : 1;
    const bool saved = fs::exists(cut + "/checkpoint.h5");
    before_the_first += saved ? 0 : 1;
    const ChildEnd resumed =
        bitloom(saved ? Words{"train", "--resume", cut, "--quiet"} : run_words(cut));
    ASSERT_EQ(resumed.exit_code, 0) << resumed.output;
    expect_same_tensors(whole + "/checkpoint.h5", cut + "/checkpoint.h5");
    EXPECT_EQ(losses_of(whole), losses_of(cut));
    EXPECT_THAT(temporary_files(cut), testing::IsEmpty());
    fs::remove_all(cut);
  }
  std::cout << kills << " kills, " << landed << " while the run was on its way, " << inside_a_write
            << " inside a write, " << before_the_first << " before the first checkpoint\n";
  EXPECT_GT(landed, 0);
}

}  // namespace
}  // namespace bitloom::tools
