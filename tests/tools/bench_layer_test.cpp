// The layer benchmark: its problem lines, the models made of them, its rows.
#include "bench_layer.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <set>

#include "bitloom/backends/session.h"
#include "bitloom/core/parallel.h"
#include "measure.h"
#include "support/error_matchers.h"
#include "support/temp_dir.h"

namespace bitloom::tools {
namespace {

TEST(LayerProblem, ReadsSizesAndFillsInTheRest) {
  const LayerProblem conv = parse_layer_problem("conv2d:n2,c8,h14,w12,o6,k3,s2,p1,g2");
  EXPECT_EQ(conv.batch, 2);
  EXPECT_EQ(conv.source(), (Shape{1, 8, 14, 12}));
  EXPECT_EQ(conv.weight(), (Shape{6, 4, 3, 3}));
  EXPECT_EQ(conv.destination(), (Shape{1, 6, 7, 6}));
  EXPECT_DOUBLE_EQ(conv.gmac(), 1e-9 * 2 * 6 * 7 * 6 * 4 * 9);

  const LayerProblem plain = parse_layer_problem("conv2d:c8,h5,o4,k1");
  EXPECT_EQ(plain.batch, 1);
  EXPECT_EQ(plain.source(), (Shape{1, 8, 5, 5}));
  EXPECT_EQ(plain.destination(), (Shape{1, 4, 5, 5}));

  const LayerProblem depthwise = parse_layer_problem("depthwise:c8,h5,k3,p1");
  EXPECT_EQ(depthwise.window.groups, 8);
  EXPECT_EQ(depthwise.weight(), (Shape{8, 1, 3, 3}));
  EXPECT_EQ(depthwise.destination(), (Shape{1, 8, 5, 5}));

  const LayerProblem linear = parse_layer_problem("linear:n4,c512,o10");
  EXPECT_EQ(linear.weight(), (Shape{10, 512}));
  EXPECT_EQ(linear.destination(), (Shape{1, 10}));
  EXPECT_DOUBLE_EQ(linear.gmac(), 4 * 5120e-9);
}

TEST(LayerProblem, RefusesWhatDoesNotFit) {
  const auto expect_bad = [](const std::string& text, const std::string& part) {
    SCOPED_TRACE(text);
    EXPECT_ERROR(ConfigError, parse_layer_problem(text), text, part);
  };
  expect_bad("conv3d:c8,h5,o4,k1", "conv2d:");
  expect_bad("", "conv2d:");
  expect_bad("conv2d:c8,h5,o4", "a size k");
  expect_bad("conv2d:c8,h5,o4,k1,k3", "each size once");
  expect_bad("conv2d:c8,h5,o4,k1,x2", "'x2'");
  expect_bad("conv2d:c8,h5,o4,kk", "'kk'");
  expect_bad("conv2d:c0,h5,o4,k1", "1 .. 65536");
  expect_bad("conv2d:c8,h99999999999999999999,o4,k1", "1 .. 65536");
  expect_bad("conv2d:c8,h5,o4,k1,s0", "s in 1");
  expect_bad("conv2d:c8,h5,o4,k7", "fits the padded image");
  expect_bad("conv2d:c8,h5,o4,k1,g3", "groups that divide");
  expect_bad("conv2d:c65536,h65536,o4,k1", "2^30 elements");
  expect_bad("depthwise:c8,o8,h5,k3", "'o8'");
  expect_bad("linear:c8,h5,o4", "'h5'");
}

TEST(LayerProblem, SeveralComeFromOneTextOrAFile) {
  EXPECT_EQ(parse_layer_problems("linear:c8,o2 linear:c9,o3").size(), 2U);
  std::string longer_than_file_names;
  for (int i = 0; i < 50; ++i) longer_than_file_names += "linear:c8,o2 ";
  EXPECT_EQ(parse_layer_problems(longer_than_file_names).size(), 50U);
  const TempDir folder;
  const std::filesystem::path path = folder / "layers.txt";
  std::ofstream(path) << "# two\nlinear:c8,o2  # small\n\nconv2d:c3,h8,o4,k3\n";
  const std::vector<LayerProblem> problems = parse_layer_problems(path.string());
  ASSERT_EQ(problems.size(), 2U);
  EXPECT_EQ(problems[1].text, "conv2d:c3,h8,o4,k3");
  EXPECT_ERROR(ConfigError, parse_layer_problems(" "), "at least one problem");
  EXPECT_ERROR(ConfigError, parse_layer_problems("missing.txt"), "missing.txt");
}

TEST(LayerKernel, WordsGoBothWays) {
  for (const char* word : {"float", "int8", "binary", "ternary"}) {
    EXPECT_EQ(to_word(layer_kernel_from_word(word)), word);
  }
  EXPECT_ERROR(ConfigError, layer_kernel_from_word("int4"), "float, int8, binary, ternary");
}

// An output that is all zeros, or all at the clip, would hide any error.
TEST(OneLayerModel, SpreadsItsCodes) {
  const LayerProblem problem = parse_layer_problem("conv2d:c32,h9,o8,k3,p1");
  const integer::Model model = one_layer_model(problem, LayerKernel::kInt8);
  backends::Session session(model, {.backend = "reference"});
  Tensor output(DType::kU8, problem.destination());
  session.run(random_images(model, 1), output);
  const auto codes = output.span<std::uint8_t>();
  std::set<int> seen(codes.begin(), codes.end());
  EXPECT_GT(seen.size(), 60U);
  const auto clipped = std::count_if(codes.begin(), codes.end(),
                                     [](std::uint8_t code) { return code == 0 || code == 255; });
  EXPECT_LT(clipped, output.elements() * 6 / 10);
}

TEST(OneLayerModel, FewLevelsHoldNoOtherCodes) {
  const LayerProblem problem = parse_layer_problem("conv2d:c5,h4,o3,k3");
  const integer::Model binary = one_layer_model(problem, LayerKernel::kBinary);
  for (const std::int8_t code : binary.layers[0].weight.span<std::int8_t>()) EXPECT_NE(code, 0);
  for (const std::int8_t code : binary.input_table.span<std::int8_t>()) EXPECT_NE(code, 0);
  EXPECT_EQ(binary.tensors[0].format, integer::kBinaryFormat);
  EXPECT_EQ(binary.layers[0].weight_bits, 1);
  const integer::Model ternary = one_layer_model(problem, LayerKernel::kTernary);
  const auto codes = ternary.layers[0].weight.span<std::int8_t>();
  EXPECT_EQ(std::set<int>(codes.begin(), codes.end()), (std::set<int>{-1, 0, 1}));
}

TEST(LayerBench, RowsOfEveryKernel) {
  set_threads(1);
  const std::vector<LayerProblem> problems =
      parse_layer_problems("conv2d:n2,c16,h6,o8,k3,p1 depthwise:c16,h6,k3 linear:n3,c40,o7");
  const std::vector<nlohmann::json> rows =
      measure_layers(problems, {LayerKernel::kFloat, LayerKernel::kInt8}, {.runs = 3});
  ASSERT_EQ(rows.size(), 6U);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const nlohmann::json& row = rows[i];
    SCOPED_TRACE(row.dump());
    const bool is_float = i % 2 == 0;
    EXPECT_EQ(row["problem"], problems[i / 2].text);
    EXPECT_EQ(row["kernel"], is_float ? "float" : "int8");
    EXPECT_EQ(row["batch"], problems[i / 2].batch);
    const auto p50_ms = row["latency_ms_p50"].get<double>();
    EXPECT_GT(p50_ms, 0.0);
    EXPECT_GE(row["latency_ms_p90"].get<double>(), p50_ms);
    EXPECT_NEAR(row["gmac_per_s"].get<double>() * p50_ms, 1e3 * problems[i / 2].gmac(), 1e-9);
    EXPECT_FALSE(row["implementation"].get<std::string>().empty());
    if (is_float) {
      EXPECT_TRUE(row["parity_identical"].is_null());
      EXPECT_LT(row["largest_difference"].get<double>(), 1e-4);
      EXPECT_EQ(row["weight_bits"], 32);
    } else {
      EXPECT_EQ(row["parity_identical"], 1.0);
      EXPECT_TRUE(row["largest_difference"].is_null()) << "codes";
      EXPECT_EQ(row["activation_bits"], 8);
    }
  }
}

// Channels that fill no whole word, padding: popcount skips what int8 multiplies by zero.
TEST(LayerBench, FewLevelsAreExactOnEveryBackend) {
  set_threads(1);
  const std::vector<LayerProblem> problems =
      parse_layer_problems("conv2d:n2,c65,h6,o9,k3,p1 linear:n3,c40,o7");
  for (const char* backend : {"onednn", "xnor"}) {
    const std::vector<nlohmann::json> rows = measure_layers(
        problems, {LayerKernel::kBinary, LayerKernel::kTernary}, {.backend = backend, .runs = 2});
    ASSERT_EQ(rows.size(), 4U);
    for (const nlohmann::json& row : rows) {
      EXPECT_EQ(row["parity_identical"], 1.0) << row.dump();
      EXPECT_EQ(row["largest_difference"], 0.0) << row.dump();
      EXPECT_EQ(row["weight_bits"], row["kernel"] == "binary" ? 1 : 2);
      EXPECT_EQ(row["backend"], backend);
    }
  }
}

}  // namespace
}  // namespace bitloom::tools
