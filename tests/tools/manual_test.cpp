#include "manual.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config_keys.h"
#include "child_process.h"
#include "command.h"
#include "support/temp_dir.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

/// The page as a reader sees it; "" where man is not installed.
std::string shown() {
  if (!std::filesystem::exists("/usr/bin/man")) return "";
  const TempDir dir;
  io::write_whole_file(dir / "bitloom.1", man_page());
  const ChildEnd end = run_child({"/bin/sh",
                                  {"-c", cat("LC_ALL=C MANWIDTH=200 MANROFFOPT=-ww man -l ",
                                             (dir / "bitloom.1").string(), " | col -b")},
                                  true});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  EXPECT_EQ(end.output.find(": warning:"), std::string::npos) << end.output;
  return end.output;
}

TEST(ManPage, HoldsEveryCommandOptionAndKey) {
  const std::string page = shown();
  if (page.empty()) GTEST_SKIP() << "install man-db and bsdextrautils to see the page";
  for (const Command& command : command_table()) {
    EXPECT_THAT(page, HasSubstr("bitloom " + command.name));
    for (const OptionSpec& option : command.options)
      EXPECT_THAT(page, HasSubstr("--" + option.name));
  }
  std::size_t keys = 0;
  for (const trainers::KeyHelp& key : trainers::config_keys()) {
    EXPECT_THAT(page, HasSubstr("--" + key.name + "="));
    ++keys;
  }
  EXPECT_GT(keys, 50U);
}

TEST(ManPage, BeginsNoLineWithARequestOfItsTexts) {
  const std::string page = man_page();
  EXPECT_EQ(page.rfind(".TH BITLOOM 1", 0), 0U);
  std::istringstream lines(page);
  int requests = 0;
  for (std::string line; std::getline(lines, line);) {
    if (line.empty() || (line[0] != '.' && line[0] != '\'')) continue;
    ++requests;
    const std::string word = line.substr(0, line.find(' '));
    const auto known = {".TH", ".SH", ".SS", ".TP", ".PP", ".nf", ".fi"};
    EXPECT_TRUE(std::find(known.begin(), known.end(), word) != known.end()) << line;
  }
  EXPECT_GT(requests, 100);
}

}  // namespace
}  // namespace bitloom::tools
