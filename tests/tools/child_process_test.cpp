#include "child_process.h"

#include <gtest/gtest.h>

#include <csignal>

#include "bitloom/core/error.h"

namespace bitloom::tools {
namespace {

ChildOptions shell(const std::string& text) {
  return {.program = "/bin/sh", .arguments = {"-c", text}, .take_stderr = true};
}

TEST(ChildProcess, GivesOutputAndExitCode) {
  const ChildEnd end = run_child(shell("echo one; echo two >&2; exit 3"));
  EXPECT_EQ(end.exit_code, 3);
  EXPECT_EQ(end.signal, 0);
  EXPECT_EQ(end.output, "one\ntwo\n");
}

TEST(ChildProcess, PassesArgumentsUntouched) {
  const ChildEnd end =
      run_child({.program = "/bin/sh",
                 .arguments = {"-c", "printf '%s|' \"$@\"", "sh", "a b", "", "$HOME*"}});
  EXPECT_EQ(end.output, "a b||$HOME*|");
}

TEST(ChildProcess, EmptiesAPipeThatIsLargerThanTheKernels) {
  const ChildEnd end = run_child(shell("head -c 300000 /dev/zero"));
  EXPECT_EQ(end.exit_code, 0);
  EXPECT_EQ(end.output.size(), 300000U);
}

TEST(ChildProcess, TellsTheSignalThatKilled) {
  ChildProcess child(shell("kill -TERM $$"));
  const ChildEnd end = child.wait();
  EXPECT_EQ(end.signal, SIGTERM);
}

TEST(ChildProcess, PassesSignalsOn) {
  ChildProcess child(shell("exec sleep 60"));
  child.send(SIGINT);
  EXPECT_EQ(child.wait().signal, SIGINT);
}

TEST(ChildProcess, NamesAProgramThatDoesNotStart) {
  try {
    run_child({.program = "/no/such/program", .arguments = {}});
    FAIL() << "started a program that is not there";
  } catch (const BackendError& error) {
    EXPECT_NE(std::string(error.what()).find("/no/such/program"), std::string::npos);
  }
}

TEST(ChildProcess, OwnProgramIsThisTest) {
  EXPECT_EQ(own_program().filename().string().substr(0, 5), "test_");
}

}  // namespace
}  // namespace bitloom::tools
