#include "code_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "support/tensor_matchers.h"

namespace bitloom::tools {
namespace {

using testing::HasSubstr;

integer::Layer layer(const char* name, integer::Grid grid, int bits, Tensor weight) {
  integer::Layer made;
  made.name = name;
  made.weight_grid = grid;
  made.weight_bits = bits;
  made.weight = std::move(weight);
  return made;
}

/// 2 filters of 9 signs: a byte and a bit each, so 2 bytes; 3 filters of 4 ternary codes: a byte.
integer::Model model() {
  integer::Model made;
  Tensor signs(DType::kS8, Shape{2, 9});
  for (std::int64_t i = 0; i < 18; ++i) signs.data<std::int8_t>()[i] = i % 2 == 0 ? 1 : -1;
  made.layers.push_back(layer("signs", integer::Grid::kBinary, 1, std::move(signs)));
  made.layers.push_back(
      layer("ternary", integer::Grid::kTernary, 2,
            matrix_as<std::int8_t>({{0, 1, -1, 0}, {0, 1, -1, 0}, {1, 1, 1, 1}})));
  made.layers.push_back(layer("bytes", integer::Grid::kAffine, 8, Tensor(DType::kS8, Shape{2, 2})));
  made.layers.push_back(layer("pool", integer::Grid::kBinary, 1, Tensor()));
  return made;
}

TEST(CodeRows, CountPaddedBitsOnDiskForEachWeight) {
  const CodeRows rows = code_rows(model());
  ASSERT_EQ(rows.size(), 2U);  // neither bytes nor what has no weights
  EXPECT_EQ(rows[0].name, "signs");
  EXPECT_EQ(rows[0].bits_per_weight, 32.0 / 18.0);
  EXPECT_EQ(rows[1].bits_per_weight, 2.0);
  EXPECT_EQ(rows[1].statistics.unique_filters, 2);
}

TEST(CodeRows, OfACheckpointHaveNoSizeOnDisk) {
  quant::LevelCodes codes;
  codes.emplace("fc.weight", matrix_as<std::int8_t>({{1, -1}}));
  const CodeRows rows = code_rows(codes);
  ASSERT_EQ(rows.size(), 1U);
  EXPECT_FALSE(rows[0].bits_per_weight.has_value());
  EXPECT_TRUE(code_json(rows).at(0).at("bits_per_weight").is_null());
}

// 32 bits of 18 signs and 24 bits of 12 ternary codes: 56 / 30.
TEST(CodeTable, EndsInTheMeanOverAllWeights) {
  const std::string text = code_table(code_rows(model()));
  EXPECT_THAT(text, HasSubstr("bits each"));
  EXPECT_THAT(text, HasSubstr("1.778"));
  EXPECT_THAT(text, HasSubstr("2.000"));
  EXPECT_THAT(text.substr(text.find("all")), HasSubstr("1.867"));
  EXPECT_THAT(text.substr(text.find("all")), HasSubstr("13.33"));  // 4 zeros of 30
  EXPECT_EQ(code_table({}), "");
}

TEST(CodeJson, HoldsWhatTheTableShows) {
  const nlohmann::json json = code_json(code_rows(model()));
  ASSERT_EQ(json.size(), 2U);
  EXPECT_EQ(json[0].at("weights"), 18);
  EXPECT_DOUBLE_EQ(json[0].at("bits_per_weight").get<double>(), 32.0 / 18.0);
  EXPECT_EQ(json[1].at("filters"), 3);
  EXPECT_EQ(json[1].at("unique_filters"), 2);
  EXPECT_DOUBLE_EQ(json[1].at("zero_percent").get<double>(), 100.0 * 4 / 12);
}

}  // namespace
}  // namespace bitloom::tools
