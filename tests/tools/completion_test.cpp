// The scripts are run by the shells that they are for.
#include "completion.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <sstream>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config_keys.h"
#include "child_process.h"
#include "command.h"
#include "support/temp_dir.h"

namespace bitloom::tools {
namespace {

using ::testing::AllOf;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::UnorderedElementsAre;

/// What bash offers behind `words`, the last of which is being typed.
std::vector<std::string> offers(const std::vector<std::string>& words) {
  const TempDir dir;
  io::write_whole_file(dir / "script", bash_completion());
  std::string line;
  for (const std::string& word : words) line += " '" + word + "'";
  const std::string script =
      cat("source ", (dir / "script").string(), "\nCOMP_WORDS=(bitloom", line,
          ")\nCOMP_CWORD=", words.size(), "\n_bitloom\nprintf '%s\\n' \"${COMPREPLY[@]}\"\n");
  const ChildEnd end = run_child({"/bin/bash", {"-c", script}, true});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  std::istringstream lines(end.output);
  std::vector<std::string> found;
  for (std::string one; std::getline(lines, one);) found.push_back(one);
  return found;
}

TEST(BashCompletion, OffersCommandsOptionsAndKeys) {
  EXPECT_THAT(offers({"tra"}), ElementsAre("train"));
  EXPECT_THAT(offers({""}), AllOf(Contains("compare"), Contains("--version")));
  EXPECT_THAT(offers({"train", "--quant.weight_b"}), ElementsAre("--quant.weight_bits="));
  EXPECT_THAT(offers({"eval", "--"}),
              AllOf(Contains("--parity"), Contains("--json"), Contains("--data.path="),
                    Not(Contains("--quant.weight_bits="))));
}

// bash hands over --name=value as three words.
TEST(BashCompletion, OffersValues) {
  EXPECT_THAT(offers({"train", "--quant.method", "=", ""}),
              AllOf(Contains("qat"), Contains("float")));
  EXPECT_THAT(offers({"train", "--quant.method", "=", "q"}), ElementsAre("qat"));
  EXPECT_THAT(offers({"train", "--data.augment_flip", "="}), UnorderedElementsAre("false", "true"));
  EXPECT_THAT(offers({"eval", "--backend", "ref"}), ElementsAre("reference"));
  EXPECT_THAT(offers({"quantize", "--method", "ptq-d"}), ElementsAre("ptq-dynamic"));
  EXPECT_THAT(offers({"completion", ""}), UnorderedElementsAre("bash", "zsh"));
  EXPECT_THAT(offers({"help", "ins"}), ElementsAre("inspect"));
}

TEST(BashCompletion, OffersFilesWhereAnyTextMayStand) {
  const TempDir dir;
  io::write_whole_file(dir / "model.h5", "x");
  const std::string file = (dir / "model.h5").string();
  const std::string begun = (dir / "mod").string();
  EXPECT_THAT(offers({"eval", "--model", begun}), ElementsAre(file));
  EXPECT_THAT(offers({"inspect", begun}), ElementsAre(file));
  EXPECT_THAT(offers({"eval", "--parity", begun}), ElementsAre(file));  // a flag takes no value
}

TEST(ZshCompletion, NamesEverythingAndParses) {
  const std::string script = zsh_completion();
  int named = 0;
  for (const Command& command : command_table()) {
    EXPECT_THAT(script, HasSubstr("'" + command.name + ":"));
    for (const OptionSpec& option : command.options) {
      EXPECT_THAT(script, HasSubstr("'--" + option.name + ":"));
      ++named;
    }
  }
  EXPECT_GT(named, 20);
  EXPECT_THAT(script, HasSubstr("*:--quant.method) values=("));
  if (!std::filesystem::exists("/usr/bin/zsh")) GTEST_SKIP() << "install zsh to parse the script";
  const TempDir dir;
  io::write_whole_file(dir / "_bitloom", script);
  const ChildEnd end = run_child({"/usr/bin/zsh", {"-n", (dir / "_bitloom").string()}, true});
  EXPECT_EQ(end.exit_code, 0) << end.output;
}

}  // namespace
}  // namespace bitloom::tools
