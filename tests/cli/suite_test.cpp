// bench --network, bench --suite and report, by the real program.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "bitloom/core/cpu.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/io/whole_file.h"
#include "program.h"

namespace bitloom::tools {
namespace {

using testing::HasSubstr;

TEST(BenchNetwork, TimesMethodsSideBySide) {
  const Folder folder;
  const ChildEnd end = bitloom({"bench", "--network", "lenet5", "--method", "float,ptq-static",
                                "--batch", "2", "--threads", "1", "--runs", "3", "--parity",
                                "--json", folder / "rows.jsonl", "--csv", folder / "rows.csv"});
  ASSERT_EQ(end.exit_code, 0) << end.output;
  const std::vector<nlohmann::json> rows = rows_of(folder / "rows.jsonl");
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0].at("method"), "float");
  EXPECT_TRUE(rows[0].at("parity_identical").is_null());
  EXPECT_EQ(rows[1].at("parity_identical"), 1.0);
  EXPECT_GT(rows[1].at("latency_ms_p99"), 0.0);
  EXPECT_GT(rows[1].at("first_inference_ms"), 0.0);
  EXPECT_TRUE(rows[1].at("noisy").is_boolean());
  EXPECT_THAT(io::read_whole_file(folder / "rows.csv"), HasSubstr("latency_ms_p50"));
}

// What is stored changes no bit; the choice for a second batch joins that for the first.
TEST(BenchModel, TuneStoresAChoiceForThisMachine) {
  const Folder folder;
  const std::string quantized = folder / "ptq.h5";
  const std::string model = folder / "model.h5";
  ASSERT_EQ(bitloom(train_words(folder / "run", {"--train.epochs=1"})).exit_code, 0);
  ASSERT_EQ(bitloom({"quantize", "--checkpoint", folder / "run/checkpoint.h5", "--method",
                     "ptq-static", "--out", quantized})
                .exit_code,
            0);
  ASSERT_EQ(bitloom({"export", "--checkpoint", quantized, "--out", model}).exit_code, 0);
  const auto tuned = [&] { return io::load_archive(model).text("tuned"); };
  EXPECT_FALSE(io::load_archive(model).has_text("tuned"));
  for (const std::string batch : {"1", "2"}) {
    const ChildEnd end =
        bitloom({"bench", "--model", model, "--tune", "--batch", batch, "--threads", "1", "--runs",
                 "3", "--parity", "--json", folder / "rows.jsonl"});
    ASSERT_EQ(end.exit_code, 0) << end.output;
    EXPECT_THAT(end.output, HasSubstr("layers run faster on another implementation; stored"));
    EXPECT_EQ(rows_of(folder / "rows.jsonl").at(0).at("parity_identical"), 1.0);
    EXPECT_THAT(tuned(), HasSubstr("threads = 1\nbatch = " + batch + "\n"));
  }
  EXPECT_THAT(tuned(), HasSubstr("batch = 1\n"));
}

// Two networks under two caps: models follow the cap, and the report joins two folders.
TEST(BenchSuite, WritesRowsAndReport) {
  if (detected_isa() < Isa::kAvx512Vnni) GTEST_SKIP() << "no two caps to compare";
  const Folder folder;
  const ChildEnd end = bitloom({"bench", "--suite", "lenet5,resnet8", "--out", folder / "suite",
                                "--methods", "float,ptq-static,qat", "--isa", "avx2,vnni",
                                "--threads", "1", "--runs", "3", "--seconds", "1"});
  ASSERT_EQ(end.exit_code, 0) << end.output;
  EXPECT_THAT(end.output, HasSubstr("resnet8, avx2"));
  const std::vector<nlohmann::json> rows = rows_of(folder / "suite/rows.jsonl");
  ASSERT_EQ(rows.size(), 12U);
  int exact = 0;
  for (const nlohmann::json& row : rows) {
    const std::string method = row.at("method");
    if (method == "float") continue;
    EXPECT_EQ(row.at("parity_identical"), 1.0);
    EXPECT_EQ(row.at("profile"), row.at("isa") == "avx2" ? "int8-reduced" : "int8");
    if (method == "qat") {
      EXPECT_EQ(row.at("same_as"), "ptq-static");
    }
    ++exact;
  }
  EXPECT_EQ(exact, 8);
  EXPECT_THAT(io::read_whole_file(folder / "suite/report.html"), HasSubstr("id=\"speedup\""));

  const ChildEnd joined =
      bitloom({"report", folder / "suite", folder / "suite", "--out", folder / "joined.html"});
  EXPECT_EQ(joined.exit_code, 0) << joined.output;
  EXPECT_THAT(io::read_whole_file(folder / "joined.html"), HasSubstr("resnet8"));
}

TEST(BenchSuite, RefusesWhatCannotBe) {
  const Folder folder;
  const ChildEnd unknown = bitloom({"bench", "--suite", "lenet6", "--out", folder / "suite"});
  EXPECT_EQ(unknown.exit_code, 2);
  EXPECT_THAT(unknown.output, HasSubstr("'lenet6'"));
  EXPECT_EQ(bitloom({"bench", "--suite", "seven"}).exit_code, 2) << "no --out";
  EXPECT_EQ(bitloom({"bench", "--network", "lenet5", "--model", "a.h5"}).exit_code, 2);
  EXPECT_EQ(bitloom({"report"}).exit_code, 2);
}

}  // namespace
}  // namespace bitloom::tools
