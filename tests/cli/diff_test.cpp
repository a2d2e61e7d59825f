// `bitloom diff` through the real program: verdict, exit code and row.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

/// A QAT checkpoint and its exported model; once for all tests.
class CliDiff : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    folder_ = new Folder;
    const ChildEnd trained = bitloom(
        train_words(*folder_ / "qat", {"--train.epochs=1", "--quant.method=qat",
                                       "--quant.weight_bits=4", "--quant.activation_bits=4"}));
    ASSERT_EQ(trained.exit_code, 0) << trained.output;
    ASSERT_EQ(bitloom({"export", "--checkpoint", checkpoint(), "--out", model()}).exit_code, 0);
  }
  static void TearDownTestSuite() {
    delete folder_;
    folder_ = nullptr;
  }

  static std::string checkpoint() { return *folder_ / "qat/checkpoint.h5"; }
  static std::string model() { return *folder_ / "model.h5"; }

  static Folder* folder_;
};

Folder* CliDiff::folder_ = nullptr;

TEST_F(CliDiff, BackendsAgreeInEveryLayer) {
  const ChildEnd end = bitloom({"diff", model() + "@onednn", model() + "@reference", "--images",
                                "16", "--json", *folder_ / "diff.json"});
  EXPECT_EQ(end.exit_code, 0) << end.output;
  EXPECT_THAT(end.output, HasSubstr("no difference beyond the tolerance in any of 6 layers"));
  const nlohmann::json row = rows_of(*folder_ / "diff.json").at(0);
  EXPECT_EQ(row.at("images"), 16);
  EXPECT_EQ(row.at("a"), model() + "@onednn");
  EXPECT_TRUE(row.at("first_layer").is_null());
  ASSERT_EQ(row.at("layers").size(), 6U);
  for (const auto& layer : row.at("layers")) EXPECT_EQ(layer.at("differing"), 0) << layer;
}

TEST_F(CliDiff, FloatPartsFromFakeQuantAndATolerancePardonsIt) {
  const Words words = {"diff", checkpoint() + "@float", checkpoint() + "@fake-quant", "--json",
                       *folder_ / "parts.json"};
  const ChildEnd end = bitloom(words);
  EXPECT_EQ(end.exit_code, 1) << end.output;
  EXPECT_THAT(end.output, HasSubstr("they part at conv1, channel "));
  const nlohmann::json row = rows_of(*folder_ / "parts.json").at(0);
  EXPECT_EQ(row.at("first_layer"), "conv1");
  EXPECT_GT(row.at("layers").at(0).at("largest_difference").get<double>(), 0.0);

  Words tolerant = words;
  tolerant.insert(tolerant.end(), {"--tolerance", "1"});
  EXPECT_EQ(bitloom(tolerant).exit_code, 0);
}

TEST_F(CliDiff, NamesWhatIsWrong) {
  const auto refused = [](const Words& words, const char* part) {
    const ChildEnd end = bitloom(words);
    EXPECT_EQ(end.exit_code, 2) << end.output;
    EXPECT_THAT(end.output, HasSubstr(part));
  };
  refused({"diff", model()}, "expected two executions, A and B, found 1");
  refused({"diff", model(), model(), model()}, "expected no more than A B, found");
  refused({"diff", model() + "@float", model()}, "@float");
  refused({"diff", checkpoint() + "@onednn", checkpoint()}, "fake-quant");
  refused({"diff", *folder_ / "none.h5", model()}, "none.h5");
  refused({"diff", model(), model(), "--tolerance", "2"}, "a number from 0 to 1, found '2'");
  refused({"diff", model(), model(), "--images", "0"}, "--images");
}

}  // namespace
}  // namespace bitloom::tools
