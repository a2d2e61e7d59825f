#include "bitloom/io/whole_file.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <fstream>

#include "bitloom/core/error.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::io {
namespace {

std::size_t files_in(const std::filesystem::path& directory) {
  return static_cast<std::size_t>(
      std::distance(std::filesystem::directory_iterator(directory), {}));
}

TEST(WholeFile, GoesThereAndBack) {
  const TempDir dir;
  const std::string content("a\0b\n", 4);
  write_whole_file(dir / "a", content);
  EXPECT_EQ(read_whole_file(dir / "a"), content);
  write_whole_file(dir / "a", "");
  EXPECT_EQ(read_whole_file(dir / "a"), "");
  EXPECT_EQ(files_in(dir.path()), 1U);
}

TEST(WholeFile, WritesInTheCurrentDirectory) {
  const TempDir dir;
  const auto before = std::filesystem::current_path();
  std::filesystem::current_path(dir.path());
  write_whole_file("plain", "x");
  std::filesystem::current_path(before);
  EXPECT_EQ(read_whole_file(dir / "plain"), "x");
}

TEST(WholeFile, SaysWhyItCannotRead) {
  const TempDir dir;
  EXPECT_ERROR(FormatError, read_whole_file(dir / "none"), "none", "No such file");
  EXPECT_ERROR(FormatError, read_whole_file(dir.path()), "expected a regular file");
  write_whole_file(dir / "long", "12345");
  EXPECT_ERROR(FormatError, read_whole_file(dir / "long", 4), "at most 4 bytes, found 5");
  ASSERT_EQ(::mkfifo((dir / "pipe").c_str(), 0600), 0);
  EXPECT_ERROR(FormatError, read_whole_file(dir / "pipe"), "expected a regular file");
}

// Of writers that live the temporary files stay, and so do names of other kinds.
TEST(WholeFile, RemovesWhatKilledWritersLeft) {
  const TempDir dir;
  const pid_t gone = ::fork();
  if (gone == 0) ::_exit(0);
  ASSERT_EQ(::waitpid(gone, nullptr, 0), gone);
  const std::string left = cat(".a.", gone, "-0.tmp");
  const std::string alive = cat(".a.", ::getppid(), "-0.tmp");
  for (const std::string& name :
       {left, alive, cat(".b.", gone, "-0.tmp"), std::string(".a.x.tmp")}) {
    std::ofstream(dir / name) << "part";
  }
  write_whole_file(dir / "a", "new");
  EXPECT_FALSE(std::filesystem::exists(dir / left));
  EXPECT_TRUE(std::filesystem::exists(dir / alive));
  EXPECT_EQ(files_in(dir.path()), 4U);
}

TEST(WholeFile, FailedWriteKeepsTheOldFile) {
  const TempDir dir;
  EXPECT_ERROR(FormatError, write_whole_file(dir / "none/a", "x"), "none/a", "No such file");
  write_whole_file(dir / "a", "old");
  // A file size limit stands for a full disk.
  std::signal(SIGXFSZ, SIG_IGN);
  rlimit old{};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &old), 0);
  const rlimit small{.rlim_cur = 1000, .rlim_max = old.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_ERROR(FormatError, write_whole_file(dir / "a", std::string(5000, 'x')), "File too large");
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &old), 0);
  EXPECT_EQ(read_whole_file(dir / "a"), "old");
  EXPECT_EQ(files_in(dir.path()), 1U);
}

}  // namespace
}  // namespace bitloom::io
