// What `cmake --install` lays out: the program finds its oneDNN, and other projects build on it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <sstream>

#include "bitloom/datasets/dataset.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config.h"
#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

ChildEnd run(const std::string& name, const Words& words) {
  return run_child({.program = name, .arguments = words, .take_stderr = true});
}

ChildEnd cmake(const Words& words) { return run(BITLOOM_CMAKE, words); }

ChildEnd shell(const std::string& line) { return run("/bin/sh", {"-c", line}); }

// Installed once for all tests of this file; they run in one process where CTest does not split
// them, so each asks for what it needs.
std::string installed(const Folder& folder) {
  const std::string prefix = folder / "prefix";
  const ChildEnd end = cmake({"--install", BITLOOM_BINARY_DIR, "--prefix", prefix});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  return prefix;
}

std::vector<float> numbers(const std::string& text) {
  std::istringstream lines(text);
  std::vector<float> values;
  for (float value = 0.0F; lines >> value;) values.push_back(value);
  return values;
}

TEST(Install, TheProgramRunsFromItsPrefixAlone) {
  const Folder folder;
  const std::string prefix = installed(folder);
  const ChildEnd version = shell("env -i " + prefix + "/bin/bitloom --version");
  EXPECT_EQ(version.exit_code, 0) << version.output;
  EXPECT_THAT(version.output, HasSubstr("oneDNN 3."));
  EXPECT_THAT(shell("ldd " + prefix + "/bin/bitloom").output,
              HasSubstr("libdnnl.so.3 => " + prefix));
  EXPECT_THAT(io::read_whole_file(prefix + "/share/man/man1/bitloom.1"), HasSubstr(".TH BITLOOM"));
  EXPECT_THAT(io::read_whole_file(prefix + "/share/bash-completion/completions/bitloom"),
              HasSubstr("complete -F"));
}

TEST(Install, ExamplesBuildOnThePackageAndRun) {
  const Folder folder;
  const std::string prefix = installed(folder);
  const std::string build = folder / "examples";
  const ChildEnd configured =
      cmake({"-S", std::string(BITLOOM_SOURCE_DIR) + "/tools/examples", "-B", build,
             "-DCMAKE_PREFIX_PATH=" + prefix, "-DCMAKE_CXX_FLAGS=" BITLOOM_BUILD_FLAGS,
             "-DCMAKE_CXX_COMPILER=" BITLOOM_CXX});
  ASSERT_EQ(configured.exit_code, 0) << configured.output;
  const ChildEnd built = cmake({"--build", build});
  ASSERT_EQ(built.exit_code, 0) << built.output;

  const ChildEnd trained = run(build + "/train_own", {folder / "own"});
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  EXPECT_THAT(trained.output, HasSubstr("w4a4 "));
  std::istringstream words(trained.output.substr(trained.output.find("w4a4 ") + 5));
  double top1 = 0.0;
  words >> top1;
  EXPECT_GT(top1, 90.0) << trained.output;

  // The same logits from ten lines of C++ as from the program.
  ASSERT_EQ(bitloom(train_words(folder / "run", {"--train.epochs=1"})).exit_code, 0);
  const std::string model = folder / "m.h5";
  const std::string checkpoint = folder / "run/checkpoint.h5";
  ASSERT_EQ(bitloom({"export", "--checkpoint", checkpoint, "--out", model}).exit_code, 0);
  const Words eval = {"eval", "--model", model, "--logits", folder / "logits.h5", "--batch", "1"};
  ASSERT_EQ(bitloom(eval).exit_code, 0);
  const Archive archive = io::load_archive(folder / "logits.h5");
  const Tensor& expected = archive.tensor("logits");

  const trainers::Config config = trainers::load_config(tiny_config(), {});
  const datasets::ImageSet images = datasets::load_test_set(config.data);
  const ConstTensorView image = images.view(0, 1);
  io::write_whole_file(folder / "pixels",
                       std::string_view(static_cast<const char*>(image.raw()), image.bytes()));
  const ChildEnd inferred = shell(build + "/infer " + model + " < " + (folder / "pixels"));
  ASSERT_EQ(inferred.exit_code, 0) << inferred.output;
  const std::vector<float> logits = numbers(inferred.output);
  ASSERT_EQ(logits.size(), 4U) << inferred.output;
  EXPECT_EQ(std::memcmp(logits.data(), expected.raw(), 4 * sizeof(float)), 0);

  EXPECT_EQ(shell(build + "/infer " + model + " < /dev/null").exit_code, 2);
  EXPECT_EQ(shell(build + "/infer " + (folder / "none.h5") + " < /dev/null").exit_code, 2);
}

}  // namespace
}  // namespace bitloom::tools
