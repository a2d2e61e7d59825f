#include "bench_suite.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "bitloom/models/networks.h"
#include "measure.h"
#include "network_models.h"
#include "row_formats.h"
#include "step_progress.h"
#include "support/error_matchers.h"

namespace bitloom::tools {
namespace {

using Json = nlohmann::json;
using testing::ElementsAre;

TEST(Suite, KnowsItsNetworks) {
  EXPECT_EQ(suite_networks("seven").size(), 7U);
  for (const std::string& name : seven_networks()) EXPECT_NO_THROW(models::native_shape(name));
  EXPECT_THAT(suite_networks("vgg16,lenet5"), ElementsAre("vgg16", "lenet5"));
  EXPECT_ERROR(ConfigError, suite_networks("vgg17"), "--suite", "'vgg17'");
  EXPECT_ERROR(ConfigError, suite_networks("vgg16,vgg16"), "'vgg16'", "name each once");
}

TEST(Suite, TakesShortWordsForCaps) {
  EXPECT_THAT(suite_isas("avx2,avx512,vnni,amx"),
              ElementsAre(Isa::kAvx2, Isa::kAvx512, Isa::kAvx512Vnni, Isa::kAvx512Amx));
  EXPECT_THAT(suite_isas(""), ElementsAre(effective_isa()));
  EXPECT_ERROR(ConfigError, suite_isas("avx3"), "--isa", "'avx3'");
}

TEST(NetworkModels, RefuseUnknownMethods) {
  EXPECT_ERROR(ConfigError, listed_words("--method", "float,int8", bench_method_words()),
               "--method", "some of float, bf16, ptq-dynamic", "'int8'");
  EXPECT_ERROR(ConfigError, listed_words("--method", "", bench_method_words()), "''");
}

// One file for two methods: bf16 reads the float network's.
TEST(NetworkModels, MakeEachFileOnce) {
  const ScratchFolder folder;
  const NetworkModels files("lenet5", folder.path());
  const BenchedModel plain = files.model("float", "int8");
  const BenchedModel bf16 = files.model("bf16", "int8");
  EXPECT_TRUE(std::filesystem::exists(plain.path));
  EXPECT_EQ(plain.path, bf16.path);
  EXPECT_EQ(bf16.backend, "onednn-bf16");
  EXPECT_EQ(files.model("qat", "int8-reduced").path,
            files.model("ptq-static", "int8-reduced").path);
}

TEST(TimingRule, EndsByRunsAndBySeconds) {
  const TimingRule rule{.runs = 50, .least_seconds = 1.0, .most_seconds = 10.0};
  EXPECT_FALSE(is_enough(rule, 49, 2.0));
  EXPECT_TRUE(is_enough(rule, 50, 2.0));
  EXPECT_FALSE(is_enough(rule, 500, 0.5)) << "too short";
  EXPECT_TRUE(is_enough(rule, 5, 10.0)) << "too long";
  EXPECT_FALSE(is_enough(rule, 4, 20.0)) << "too few to have a median";
  EXPECT_TRUE(is_enough({.runs = 3}, 3, 0.0));
}

TEST(StepLine, ShowsShareAndTimeLeft) {
  EXPECT_EQ(step_line(0.25, "resnet50, avx2", 80.0, 240.0),
            "[=====>              ] 25 %  resnet50, avx2  1:20, about 4:00 left");
  EXPECT_EQ(step_line(1.0, "done", 5.0, -1.0), "[====================] 100 %  done  0:05");
}

const std::vector<Json>& two_rows() {
  static const std::vector<Json> rows = {
      {{"network", "resnet50"},
       {"method", "ptq-static"},
       {"batch", 1},
       {"threads", 2},
       {"runs", 60},
       {"latency_ms_p50", 5.5},
       {"latency_ms_p90", 6.0},
       {"plan", Json::array({1})},
       {"device", "a CPU, \"fast\""}},
      {{"network", "resnet50"}, {"method", "bf16"}, {"latency_ms_p50", nullptr}, {"reason", "no"}}};
  return rows;
}

TEST(RowFormats, WriteCommasAndQuotes) {
  EXPECT_EQ(csv_text(two_rows()),
            "batch,device,latency_ms_p50,latency_ms_p90,method,network,runs,threads,reason\n"
            "1,\"a CPU, \"\"fast\"\"\",5.5,6.0,ptq-static,resnet50,60,2,\n"
            ",,,,bf16,resnet50,,,no\n");
}

TEST(RowFormats, WriteWhatGoogleBenchmarkWrites) {
  const Json file = google_benchmark_json(two_rows());
  const Json& first = file.at("benchmarks").at(0);
  EXPECT_EQ(first.at("name"), "resnet50/ptq-static/batch:1/threads:2");
  EXPECT_EQ(first.at("real_time"), 5.5);
  EXPECT_EQ(first.at("time_unit"), "ms");
  EXPECT_EQ(first.at("iterations"), 60);
  EXPECT_EQ(file.at("benchmarks").at(1).at("error_message"), "no");
  EXPECT_TRUE(file.at("context").contains("num_cpus"));
}

}  // namespace
}  // namespace bitloom::tools
