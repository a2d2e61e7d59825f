#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/core/error.h"
#include "bitloom/io/whole_file.h"
#include "command.h"
#include "global_options.h"

namespace bitloom::tools {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

const Command& command(const std::string& name) {
  for (const Command& entry : command_table()) {
    if (entry.name == name) return entry;
  }
  throw ConfigError("no command " + name);
}

std::string complaint(const std::string& name, const std::vector<std::string>& words) {
  try {
    const Arguments arguments = parse_arguments(command(name), words);
    require_options(command(name), arguments);
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Arguments, TellOptionsFlagsKeysAndFileApart) {
  const Arguments train = parse_arguments(
      command("train"),
      {"--config", "a.cfg", "--out=d", "--train.epochs=3", "--seed", "4", "--quiet"});
  EXPECT_EQ(train.value("config"), "a.cfg");
  EXPECT_EQ(train.value("out"), "d");
  EXPECT_TRUE(train.has("quiet"));
  EXPECT_FALSE(train.has("init"));
  EXPECT_THAT(train.overrides, ElementsAre("train.epochs=3", "seed=4"));
  EXPECT_EQ(train.override_value("seed"), "4");
  EXPECT_EQ(train.override_value("see"), "");

  const Arguments inspect = parse_arguments(command("inspect"), {"x.h5", "--text"});
  EXPECT_THAT(inspect.positionals, ElementsAre("x.h5"));
  EXPECT_TRUE(inspect.has("text"));
}

TEST(Arguments, ProfileIsAnOptionOfExportAndAKeyElsewhere) {
  EXPECT_EQ(parse_arguments(command("export"), {"--profile=int8"}).value("profile"), "int8");
  EXPECT_THAT(parse_arguments(command("train"), {"--profile=int8"}).overrides,
              ElementsAre("profile=int8"));
}

TEST(Arguments, KeepAnEmptyValueAndOneWithEqualsSigns) {
  EXPECT_THAT(parse_arguments(command("train"), {"--data.path=/a=b"}).overrides,
              ElementsAre("data.path=/a=b"));
}

TEST(Arguments, TellEveryErrorAtOnceWithTheNearestName) {
  EXPECT_THAT(complaint("eval", {"--modle", "x", "--data.pth=3", "--train.epochs=3"}),
              AllOf(HasSubstr("did you mean --model?"), HasSubstr("did you mean --data.path?"),
                    HasSubstr("found --train.epochs; it would change nothing here")));
}

TEST(Arguments, DoNotGuessFromPrefixes) {
  EXPECT_THAT(complaint("train", {"--conf=x"}), HasSubstr("found --conf; did you mean --config?"));
}

TEST(Arguments, NameMissingValuesOptionsAndSpareFiles) {
  EXPECT_THAT(complaint("train", {"--config"}),
              HasSubstr("bitloom train: expected a value behind --config, found none; usage: "));
  EXPECT_THAT(complaint("train", {"--config", "--out", "x"}),
              HasSubstr("expected a value behind --config, found the option --out"));
  EXPECT_THAT(complaint("quantize", {"--out=x"}),
              AllOf(HasSubstr("--checkpoint F, --method M"), Not(HasSubstr("none, --out"))));
  EXPECT_THAT(complaint("train", {"spare"}),
              HasSubstr("expected options only, found 'spare' too; usage: "));
  EXPECT_THAT(complaint("inspect", {"a", "b", "c"}),
              HasSubstr("expected no more than FILE OTHER, found 'c' too"));
}

TEST(Arguments, IntegersHaveARange) {
  const Arguments arguments =
      parse_arguments(command("bench"), {"--model=x", "--runs=0", "--batch=8x"});
  EXPECT_THROW(arguments.integer("runs", 1, 10, 5), ConfigError);
  EXPECT_THROW(arguments.integer("batch", 1, 10, 5), ConfigError);
  EXPECT_EQ(arguments.integer("absent", 1, 10, 5), 5);
}

TEST(Program, EveryCommandHasHelpWithAnExampleAndItsOptions) {
  for (const Command& entry : command_table()) {
    const std::string help = command_help(entry);
    EXPECT_THAT(help, HasSubstr("Example: bitloom " + entry.name));
    EXPECT_THAT(general_help(), HasSubstr(entry.summary));
    for (const OptionSpec& option : entry.options) EXPECT_THAT(help, HasSubstr("--" + option.name));
  }
  EXPECT_EQ(command_table().size(), 14U);
  EXPECT_THAT(command_help(command("train")), HasSubstr("--quant.weight_bits"));
  EXPECT_THAT(command_help(command("bench")), Not(HasSubstr("--quant.weight_bits")));
}

TEST(Program, NamesTheNearestCommand) {
  try {
    run_program({"comparre"});
    FAIL() << "ran an unknown command";
  } catch (const ConfigError& error) {
    EXPECT_THAT(error.what(), HasSubstr("did you mean 'compare'?"));
  }
}

TEST(SplitFiles, KeepsAnExistingFileWithACommaWhole) {
  const std::string odd = testing::TempDir() + "a,b.h5";
  io::write_whole_file(odd, "x");
  EXPECT_THAT(split_files({odd, "c.h5,d.h5,", "e.h5"}), ElementsAre(odd, "c.h5", "d.h5", "e.h5"));
}

}  // namespace
}  // namespace bitloom::tools
