// Where an exported model's time goes: work by hand, laps that sum up.
#include "session_profile.h"

#include <gtest/gtest.h>

#include <set>

#include "backends/hand_models.h"
#include "measure.h"

namespace bitloom::tools {
namespace {

const kernels::MachinePeaks kPeaks{
    .f32_gflop_per_s = 100.0, .int8_gop_per_s = 400.0, .copy_gb_per_s = 10.0};

TEST(SessionProfile, HasALineForEachLayerAndSumsUpToTheRun) {
  for (const integer::ComputeMode mode :
       {integer::ComputeMode::kStatic, integer::ComputeMode::kFloat}) {
    const integer::Model model = integer::small_residual_model("int8-reduced", mode);
    backends::Session session(model, {.backend = "reference", .batch = 2});
    const SessionProfile profile = profile_session(model, session, random_images(model, 2), 3);
    ASSERT_EQ(profile.layers.size(), model.layers.size());
    double sum = profile.outside_ms;
    for (const SessionLayer& layer : profile.layers) {
      EXPECT_GT(layer.work.ms, 0.0) << layer.layer;
      EXPECT_GT(layer.work.mb, 0.0) << layer.layer;
      EXPECT_EQ(layer.implementation, "reference");
      sum += layer.work.ms;
    }
    EXPECT_GT(profile.outside_ms, 0.0);
    EXPECT_NEAR(profile.run_ms, sum, 1e-9);
    EXPECT_GT(profile.gflop(), 0.0);
  }
}

TEST(SessionProfile, CountsWorkByTheShapes) {
  const integer::Model model =
      integer::small_residual_model("int8-reduced", integer::ComputeMode::kStatic);
  backends::Session session(model, {.backend = "reference"});
  const SessionProfile profile = profile_session(model, session, random_images(model, 1), 1);
  std::set<std::string> kinds;
  for (std::size_t i = 0; i < profile.layers.size(); ++i) {
    const integer::Layer& layer = model.layers[i];
    const SessionLayer& row = profile.layers[i];
    kinds.insert(row.kind);
    if (layer.weight.empty()) {
      EXPECT_EQ(row.work.gflop, 0.0) << row.layer;
      continue;
    }
    const Shape& output = model.tensors[static_cast<std::size_t>(layer.output)].shape;
    const std::int64_t taps = layer.weight.elements() / layer.weight.shape().n();
    EXPECT_DOUBLE_EQ(row.work.gflop, 2e-9 * static_cast<double>(output.elements() * taps));
    EXPECT_EQ(row.work.unit, DirectionWork::Unit::kInt8);
  }
  EXPECT_TRUE(kinds.contains("stem"));
  EXPECT_TRUE(kinds.contains("linear"));
  EXPECT_TRUE(std::any_of(kinds.begin(), kinds.end(),
                          [](const std::string& kind) { return kind.ends_with(" + sum"); }));
}

TEST(SessionProfile, RowsAndTablesNameEveryLayer) {
  SessionProfile profile;
  profile.layers.push_back(
      {.layer = "conv1",
       .op = "conv2d",
       .mode = "static",
       .kind = "3x3",
       .implementation = "brgconv",
       .output = "1x8x4x4",
       .work = {.unit = DirectionWork::Unit::kInt8, .gflop = 0.4, .mb = 1.0, .ms = 2.0}});
  profile.outside_ms = 0.5;
  profile.run_ms = 2.5;
  const nlohmann::json rows = layers_json(profile, kPeaks);
  ASSERT_EQ(rows.size(), 2U);
  EXPECT_EQ(rows[0]["layer"], "conv1");
  EXPECT_EQ(rows[0]["ms"], 2.0);
  EXPECT_DOUBLE_EQ(rows[0]["share_of_peak"].get<double>(), 0.5);  // 1 ms by compute, of 2
  EXPECT_EQ(rows[0]["limit"], "compute");
  EXPECT_EQ(rows[1]["kind"], "input and logits");
  EXPECT_EQ(rows[1]["ms"], 0.5);
  EXPECT_NE(layer_table(profile, kPeaks).find("conv1"), std::string::npos);
  const std::string kinds = kind_table(profile, kPeaks);
  EXPECT_NE(kinds.find("80.0"), std::string::npos) << kinds;  // 2 of 2.5 ms
  EXPECT_NE(kinds.find("input and logits"), std::string::npos);
}

}  // namespace
}  // namespace bitloom::tools
