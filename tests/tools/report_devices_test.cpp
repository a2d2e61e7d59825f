#include "report_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "device_explanations.h"

namespace bitloom::tools {
namespace {

using testing::HasSubstr;
using testing::Not;

Json layer(const char* kind, const char* op, const char* mode, double ms, const char* limit) {
  return {{"layer", "l"}, {"op", op},  {"mode", mode},
          {"kind", kind}, {"ms", ms},  {"limit", limit},
          {"gflop", 1.0}, {"mb", 2.0}, {"implementation", std::string("jit:") + mode}};
}

Json row(const char* isa, const char* method, double p50_ms, const Json& layers) {
  Json made = {{"device", "CPU <1>"},
               {"isa", isa},
               {"threads", 2},
               {"batch", 1},
               {"network", "net"},
               {"method", method},
               {"latency_ms_p50", p50_ms},
               {"latency_ms_p90", p50_ms},
               {"commit", "c0ffee"}};
  made["layers"] = layers;
  made["peaks"] = {{"f32_gflop_per_s", 100.0}, {"int8_gop_per_s", 400.0}, {"copy_gb_per_s", 10.0}};
  return made;
}

// Float 10 ms: 8 in 3x3, 2 in depthwise. Static 5 ms: 2 in 3x3, 2.5 in depthwise, 0.5 outside.
std::vector<Json> rows() {
  return {row("avx2", "float", 10.0,
              {layer("3x3", "conv2d", "float", 8.0, "compute"),
               layer("depthwise", "conv2d", "float", 2.0, "memory")}),
          row("avx2", "ptq-static", 5.0,
              {layer("3x3 + sum", "conv2d", "static", 2.0, "compute"),
               layer("depthwise", "conv2d", "static", 2.5, "memory"),
               layer("input and logits", "", "", 0.5, "memory")}),
          row("avx2", "ptq-dynamic", 12.5, Json::array()),
          {{"device", "CPU <1>"},
           {"isa", "avx2"},
           {"threads", 2},
           {"batch", 1},
           {"network", "net"},
           {"method", "bf16"},
           {"latency_ms_p50", nullptr},
           {"reason", "no bf16 instructions"}}};
}

TEST(TimeShares, AddUpToWhatTheLayersTook) {
  const TimeShares shares = time_shares(rows()[1]);
  EXPECT_DOUBLE_EQ(shares.total_ms, 5.0);
  EXPECT_DOUBLE_EQ(shares.compute, 0.4);
  EXPECT_DOUBLE_EQ(shares.memory, 0.5);
  EXPECT_DOUBLE_EQ(shares.conversion, 0.1);
  EXPECT_EQ(shares.float_products, 0.0);
  EXPECT_EQ(time_shares(rows()[0]).float_products, 1.0);
}

TEST(Explanations, SayWhatWasMeasured) {
  const std::vector<Json> all = rows();
  const std::vector<DeviceRows> devices = by_device(all);
  ASSERT_EQ(devices.size(), 1U);
  const auto texts = explanations(devices[0], devices[0].networks.at(0));
  ASSERT_EQ(texts.size(), 3U);
  EXPECT_THAT(texts[0], HasSubstr("net, ptq-static: 2.00 times as fast as float"));
  EXPECT_THAT(texts[0], HasSubstr("40 % is bound by computing, 50 % by moving"));
  EXPECT_THAT(texts[0], HasSubstr("Gained most: 3x3 4.00 times as fast (8.00 ms by jit:float"));
  EXPECT_THAT(texts[0], HasSubstr("least: depthwise 0.80 times as fast"));
  EXPECT_THAT(texts[0], Not(HasSubstr("stayed float")));
  EXPECT_THAT(texts[1], HasSubstr("slower than float (0.80 times as fast)"));
  EXPECT_THAT(texts[1], HasSubstr("cost 7.50 ms above ptq-static: 60 %"));
  EXPECT_THAT(texts[2], HasSubstr("not measured, no bf16 instructions"));
}

TEST(Devices, AreACpuUnderACap) {
  std::vector<Json> all = rows();
  all.push_back(row("avx512", "float", 8.0, Json::array()));
  const std::vector<DeviceRows> devices = by_device(all);
  ASSERT_EQ(devices.size(), 2U);
  EXPECT_EQ(devices[1].name, "CPU <1>, avx512, 2 threads, batch 1");
  EXPECT_DOUBLE_EQ(devices[0].networks[0].speedup(all[1]), 2.0);
  EXPECT_TRUE(std::isnan(devices[0].networks[0].speedup(all[3])));
}

TEST(ChartKind, JoinsWhatIsAlike) {
  EXPECT_EQ(chart_kind("3x3 + sum"), "3x3");
  EXPECT_EQ(chart_kind("1x7"), "long window");
  EXPECT_EQ(chart_kind("5x5"), "wide window");
  EXPECT_EQ(chart_kind("global_avg_pool"), "pooling");
  EXPECT_EQ(chart_kind("input and logits"), "input and logits");
}

TEST(DevicesPage, HasEveryChartAndEscapesNames) {
  const std::string page = devices_html(rows());
  for (const char* part : {"id=\"time-1\"", "id=\"speedup\"", "id=\"kinds-1\"", "id=\"roofline-1\"",
                           "id=\"why\"", "CPU &lt;1&gt;", "no bf16 instructions"}) {
    EXPECT_THAT(page, HasSubstr(part));
  }
  EXPECT_THAT(page, Not(HasSubstr("CPU <1>")));
  EXPECT_THAT(devices_text(rows()), HasSubstr("2.00"));
}

}  // namespace
}  // namespace bitloom::tools
