// Noise and widths through the real program: measured, chosen, written, quantized, evaluated.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/program.h"

namespace bitloom::tools {
namespace {

using ::testing::HasSubstr;

TEST(Cli, AllocatedWidthsRunAsQuantized) {
  const Folder folder;
  const ChildEnd trained = bitloom(train_words(folder / "float", {"--train.epochs=1"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const std::string checkpoint = folder / "float/checkpoint.h5";

  const ChildEnd measured = bitloom(
      {"sqnr", "--checkpoint", checkpoint, "--images", "64", "--json", folder / "sqnr.json"});
  ASSERT_EQ(measured.exit_code, 0) << measured.output;
  EXPECT_THAT(measured.output, HasSubstr("refined dB"));
  const nlohmann::json sqnr = rows_of(folder / "sqnr.json").at(0);
  EXPECT_EQ(sqnr.at("output").size(), 7U);
  EXPECT_EQ(sqnr.at("output").at(6).at("bits"), 10);
  EXPECT_GT(sqnr.at("output").at(6).at("measured_db").get<double>(), 20.0);

  const ChildEnd swept = bitloom({"sensitivity", "--checkpoint", checkpoint, "--images", "64",
                                  "--json", folder / "sensitivity.json"});
  ASSERT_EQ(swept.exit_code, 0) << swept.output;
  EXPECT_EQ(rows_of(folder / "sensitivity.json").at(0).at("steps").size(), sqnr.at("steps").size());

  const ChildEnd allocated =
      bitloom({"allocate", "--checkpoint", checkpoint, "--images", "64", "--target-size-ratio",
               "0.125", "--greedy", "--latency", "--quant.first_last_bits=0", "--out",
               folder / "mixed.cfg", "--json", folder / "allocate.json"});
  ASSERT_EQ(allocated.exit_code, 0) << allocated.output;
  const nlohmann::json row = rows_of(folder / "allocate.json").at(0);
  EXPECT_EQ(row.at("methods").size(), 3U);
  EXPECT_LE(row.at("methods").at(1).at("average_weight_bits").get<double>(), 4.0);

  for (const int method : {0, 1}) {
    EXPECT_GT(row.at("methods").at(method).at("latency_ms_p50").get<double>(), 0.0);
  }
  EXPECT_THAT(allocated.output, HasSubstr("int8 kernels take as long for 2 bits as for 8"));

  const std::string bits = row.at("layer_bits");
  EXPECT_EQ(row.at("methods").at(1).at("layer_bits"), bits);
  const ChildEnd quantized =
      bitloom({"quantize", "--checkpoint", checkpoint, "--method", "ptq-static",
               "--quant.layer_bits=" + bits, "--out", folder / "mixed.h5"});
  ASSERT_EQ(quantized.exit_code, 0) << quantized.output;
  const std::string model = folder / "mixed.model.h5";
  ASSERT_EQ(bitloom({"export", "--checkpoint", folder / "mixed.h5", "--out", model}).exit_code, 0);
  const ChildEnd evaluated =
      bitloom({"eval", "--model", model, "--parity", "--json", folder / "eval.json"});
  ASSERT_EQ(evaluated.exit_code, 0) << evaluated.output;
  const nlohmann::json eval = rows_of(folder / "eval.json").at(0);
  EXPECT_EQ(eval.at("parity_identical"), 1.0);
  EXPECT_NEAR(eval.at("average_weight_bits").get<double>(),
              row.at("methods").at(1).at("average_weight_bits").get<double>(), 1e-9);
}

TEST(Cli, TargetsThatCannotBeMetAreNamed) {
  const Folder folder;
  const ChildEnd trained = bitloom(train_words(folder / "float", {"--train.epochs=0"}));
  ASSERT_EQ(trained.exit_code, 0) << trained.output;
  const std::string checkpoint = folder / "float/checkpoint.h5";
  const auto complaint = [&](const Words& more) {
    Words words = {"allocate", "--checkpoint", checkpoint, "--images", "64"};
    words.insert(words.end(), more.begin(), more.end());
    const ChildEnd end = bitloom(words);
    EXPECT_EQ(end.exit_code, 2);
    return end.output;
  };
  EXPECT_THAT(complaint({"--target-size-ratio", "0.01"}), HasSubstr("quant.target_size_ratio"));
  EXPECT_THAT(complaint({"--target-sqnr-db", "190"}), HasSubstr("target SQNR: expected at most"));
  EXPECT_THAT(complaint({"--target-sqnr-db", "much"}), HasSubstr("a number above 0"));
  EXPECT_THAT(complaint({"--target-latency-ms", "1e-6"}),
              HasSubstr("--target-latency-ms: expected at least"));
  EXPECT_THAT(complaint({"--target-sqnr-db", "20", "--target-size-ratio", "0.2"}),
              HasSubstr("one of target_sqnr_db"));
}

}  // namespace
}  // namespace bitloom::tools
