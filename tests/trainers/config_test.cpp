#include "bitloom/trainers/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "bitloom/io/whole_file.h"
#include "bitloom/trainers/config_keys.h"
#include "support/error_matchers.h"

namespace bitloom::trainers {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

/// What load_config says to `ini` (as "F") and `overrides`; "" if it takes them.
std::string complaint(const std::string& ini, const std::vector<std::string>& overrides = {}) {
  try {
    static_cast<void>(with_overrides(config_from_ini(ini, "F"), overrides));
  } catch (const ConfigError& error) {
    return error.what();
  }
  return "";
}

TEST(Config, EveryShippedFileLoads) {
  int count = 0;
  const std::filesystem::path root = std::filesystem::path(BITLOOM_SOURCE_DIR) / "trainers";
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root)) {
    if (entry.path().extension() != ".cfg") continue;
    SCOPED_TRACE(entry.path().string());
    EXPECT_NO_THROW(load_config(entry.path(), {}));
    EXPECT_THAT(io::read_whole_file(entry.path()), HasSubstr("# Run:    bitloom "));
    ++count;
  }
  EXPECT_GE(count, 2);
}

TEST(Config, CommandLineBeatsFileBeatsDefault) {
  const std::filesystem::path file = std::filesystem::path(testing::TempDir()) / "order.cfg";
  io::write_whole_file(file, "seed = 5\n[train]\nepochs = 7\nbatch = 32\n");
  const Config config = load_config(file, {"train.epochs=9", "train.epochs=11"});
  EXPECT_EQ(config.seed, 5U);
  EXPECT_EQ(config.train.epochs, 11);
  EXPECT_EQ(config.train.batch, 32);
  EXPECT_EQ(config.train.momentum, train::TrainOptions().momentum);
}

TEST(Config, NoFileGivesTheDefaults) { EXPECT_EQ(to_ini(load_config("", {})), to_ini(Config())); }

TEST(Config, IniRoundTripsEveryKeyExactly) {
  Config config;
  config.seed = 18446744073709551615ULL;
  config.threads = 3;
  config.isa = "avx2";
  config.profile = "int8-reduced";
  config.data.path = "/tmp/a b;c\"d=e";
  config.data.mean = {0.1F, 0.2860F, -3.4e-7F};
  config.data.stddev = {1.0F / 3.0F};
  config.model.file = "nets/my.net";
  config.train.lr = 0.1 + 0.2;
  config.train.weight_decay = 1e-300;
  config.train.momentum = 1.0 / 3.0;
  config.quant.method = "qat";
  config.quant.narrow_weights = true;
  config.quant.first_last_bits = 0;
  config.quant.layer_bits = {{"conv1", {8, 4}}, {"fc", {3, 0}}};
  config.compare.methods = {"qat"};
  config.compare.bits = {"w2a8", "w8a2"};
  const Config back = config_from_ini(to_ini(config), "F");
  EXPECT_THAT(config_differences(config, back), testing::IsEmpty());
  EXPECT_EQ(back.train.lr, config.train.lr);
  EXPECT_EQ(back.data.mean, config.data.mean);
  EXPECT_EQ(back.seed, config.seed);
  EXPECT_EQ(to_ini(back), to_ini(config));
  EXPECT_EQ(config_hash(back), config_hash(config));
}

TEST(Config, HashFollowsEveryValue) {
  Config config;
  const std::string before = config_hash(config);
  EXPECT_EQ(before.size(), 12U);
  EXPECT_EQ(before.find_first_not_of("0123456789abcdef"), std::string::npos);
  config.data.synthetic_seed = 2;
  EXPECT_NE(config_hash(config), before);
}

TEST(Config, TellsAllErrorsAtOnceWithTheirPlaces) {
  const std::string text = complaint(
      "sede = 2\n"
      "[train]\n"
      "epochs = many   # not a number\n"
      "lr = 0.1\n"
      "lr = 0.2\n"
      "[quant]\n"
      "weight_bits = 33\n"
      "nonsense\n");
  EXPECT_THAT(text, HasSubstr("5 errors"));
  EXPECT_THAT(text,
              AllOf(HasSubstr("F:1: "), HasSubstr("'sede'"), HasSubstr("did you mean 'seed'?")));
  EXPECT_THAT(text, AllOf(HasSubstr("F:3: train.epochs: expected 0 .. 10000, found 'many'")));
  EXPECT_THAT(text, AllOf(HasSubstr("F:5: "), HasSubstr("'train.lr' again"), HasSubstr("F:4")));
  EXPECT_THAT(text, HasSubstr("F:7: quant.weight_bits: expected 1 .. 8, found '33'"));
  EXPECT_THAT(text, AllOf(HasSubstr("F:8: "), HasSubstr("'nonsense'")));
}

TEST(Config, NamesTheCommandLineAsThePlace) {
  EXPECT_THAT(complaint("", {"quant.weight_bits=0", "train.epoch=3"}),
              AllOf(HasSubstr("command line: quant.weight_bits: expected 1 .. 8, found '0'"),
                    HasSubstr("did you mean 'train.epochs'?")));
  EXPECT_THAT(complaint("", {"train.epochs"}), HasSubstr("expected key=value"));
}

struct BadValue {
  std::string setting;
  std::string message;
  friend void PrintTo(const BadValue& value, std::ostream* out) { *out << value.setting; }
};

class ConfigRejects : public testing::TestWithParam<BadValue> {};

TEST_P(ConfigRejects, ValueOutOfRange) {
  EXPECT_THAT(complaint("", {GetParam().setting}), HasSubstr(GetParam().message));
}

INSTANTIATE_TEST_SUITE_P(
    Values, ConfigRejects,
    testing::Values(
        BadValue{"seed=-1", "0 .. 2^64-1"}, BadValue{"threads=257", "0 .. 256"},
        BadValue{"isa=mmx", "one of other, sse41, avx2"}, BadValue{"profile=int9", "one of int8"},
        BadValue{"data.reader=cifar", "one of idx, cifar10"},
        BadValue{"data.path=a#b", "without '#'"}, BadValue{"data.path= a", "without '#'"},
        BadValue{"data.stddev=0.3,0", "each a number above 0"},
        BadValue{"data.mean=0.3,,0", "each -1e+06 .. 1e+06"},
        BadValue{"data.classes=1", "2 .. 65536"}, BadValue{"model.network=lenet", "lenet5"},
        BadValue{"train.epochs=10001", "0 .. 10000"}, BadValue{"train.epochs=2.5", "0 .. 10000"},
        BadValue{"train.epochs=", "0 .. 10000"},
        BadValue{"train.epochs=99999999999999999999", "0 .. 10000"},
        BadValue{"train.batch=0", "1 .. 65536"}, BadValue{"train.lr=0", "a number above 0"},
        BadValue{"train.lr=nan", "a number above 0"}, BadValue{"train.lr=inf", "a number above 0"},
        BadValue{"train.lr=0.1x", "a number above 0"}, BadValue{"train.momentum=1", "0 .. 0.9999"},
        BadValue{"quant.method=ptq", "one of float, qat, ptq-static"},
        BadValue{"quant.quantizer=lsqq", "one of lsq, lsq+, pact, dorefa, ema"},
        BadValue{"quant.observer=entropy", "one of minmax, ema, percentile, kl, mse, sqnr"},
        BadValue{"quant.weight_observer=kl", "one of minmax, percentile, mse, sqnr, or nothing"},
        BadValue{"quant.percentile=0", "a number above 0, at most 100"},
        BadValue{"quant.adaround_steps=0", "1 .. 1000000"},
        BadValue{"quant.forward=int", "one of integer, float"},
        BadValue{"quant.weight_bits=9", "1 .. 8"},
        BadValue{"quant.activation_bits=33", "1 .. 8 or 32"},
        BadValue{"quant.first_last_bits=1", "0, 2 .. 8 or 32"},
        BadValue{"quant.first_last_bits=9", "0, 2 .. 8 or 32"},
        BadValue{"quant.per_channel=yes", "true or false"},
        BadValue{"compare.methods=", "distinct words that `bitloom compare --help`"},
        BadValue{"compare.methods=qat,qat", "distinct words that `bitloom compare --help`"},
        BadValue{"compare.bits=w8a9", "words like w8a8"},
        BadValue{"compare.bits=w0a8", "words like w8a8"},
        BadValue{"compare.bits=w33a8", "words like w8a8"},
        BadValue{"compare.bits=8,4", "words like w8a8"},
        BadValue{"compare.backend=tensorrt", "one of"}));

TEST(Config, RejectsMoreCalibrationThanValidationImages) {
  const std::string few = "[data]\nvalidation_images = 100\n[quant]\ncalibration_images = 101\n";
  EXPECT_EQ(complaint(few), "");  // only ptq-static calibrates by that number
  EXPECT_THAT(complaint(few, {"quant.method=ptq-static"}),
              HasSubstr("at most data.validation_images = 100, found 101"));
}

// Grids that are found while a model runs, and reals, are neither asymmetric nor powers of two.
TEST(Config, RejectsGridsThatDynamicAndWeightOnlyCannotHave) {
  EXPECT_ERROR(ConfigError,
               load_config("", {"quant.method=ptq-dynamic", "quant.asymmetric=true",
                                "quant.power_of_two=true"}),
               "quant.asymmetric: expected false with quant.method = ptq-dynamic",
               "quant.power_of_two: expected false with quant.method = ptq-dynamic");
  EXPECT_ERROR(ConfigError,
               load_config("", {"quant.method=ptq-weight-only", "quant.asymmetric=true"}),
               "quant.asymmetric", "activations stay real");
  EXPECT_NO_THROW(load_config(
      "", {"quant.method=ptq-weight-only", "quant.power_of_two=true", "data.validation_images=1"}));
  EXPECT_NO_THROW(load_config("", {"quant.method=ptq-dynamic", "data.validation_images=1"}));
}

TEST(Config, MissingFileIsNamed) {
  try {
    load_config("no/such.cfg", {});
    FAIL() << "loaded a file that is not there";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("no/such.cfg"));
  }
}

TEST(Config, CommentsSpacesAndCarriageReturnsAreNoContent) {
  const Config config = config_from_ini(
      "# head\r\n\r\n  seed = 4 # tail\r\n [train] # recipe\r\n\tepochs=2\r\n", "F");
  EXPECT_EQ(config.seed, 4U);
  EXPECT_EQ(config.train.epochs, 2);
}

TEST(Config, ListsTakeSpacesAroundCommas) {
  const Config config =
      with_overrides(Config(), {"compare.bits=w8a8 , w4a4", "data.mean=0.5, 0.25"});
  EXPECT_THAT(config.compare.bits, testing::ElementsAre("w8a8", "w4a4"));
  EXPECT_THAT(config.data.mean, testing::ElementsAre(0.5F, 0.25F));
}

TEST(Config, KeysAreUniqueDocumentedAndTakeTheirOwnDefaults) {
  std::vector<std::string> names;
  for (const KeyHelp& key : config_keys()) {
    EXPECT_THAT(names, Not(testing::Contains(key.name)));
    names.push_back(key.name);
    EXPECT_FALSE(key.help.empty()) << key.name;
    EXPECT_FALSE(key.range.empty()) << key.name;
    EXPECT_EQ(complaint("", {key.name + "=" + key.fallback}), "") << key.name;
  }
  EXPECT_GT(names.size(), 40U);
}

TEST(Config, DifferencesNameKeyAndBothValues) {
  Config changed;
  changed.train.epochs = 6;
  EXPECT_THAT(config_differences(Config(), changed), testing::ElementsAre("train.epochs: 4 -> 6"));
}

TEST(EditDistance, MatchesHandWorkedPairs) {
  EXPECT_EQ(edit_distance("kitten", "sitting"), 3U);
  EXPECT_EQ(edit_distance("", "abc"), 3U);
  EXPECT_EQ(edit_distance("abc", ""), 3U);
  EXPECT_EQ(edit_distance("same", "same"), 0U);
}

TEST(NearestWord, FindsTyposAndForgottenSectionsButDoesNotGuessWildly) {
  const std::vector<std::string> words{"seed", "train.epochs", "train.qat_epochs",
                                       "quant.observer"};
  EXPECT_EQ(nearest_word("train.epoch", words), "train.epochs");
  EXPECT_EQ(nearest_word("epochs", words), "train.epochs");
  EXPECT_EQ(nearest_word("qat_epochs", words), "train.qat_epochs");
  EXPECT_EQ(nearest_word("trian.epochs", words), "train.epochs");
  EXPECT_EQ(nearest_word("zzzzzzzz", words), "");
  EXPECT_EQ(nearest_word("", words), "");
}

}  // namespace
}  // namespace bitloom::trainers
