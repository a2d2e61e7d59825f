// Quantizers of one and two bits against PyTorch: tools/golden/binary.py, torch 2.
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/io/hdf5_archive.h"
#include "quant/quantizer_harness.h"

namespace bitloom::quant {
namespace {

constexpr const char* kBinary = ", bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary";
constexpr const char* kTernary = ", bits=2, dtype=s8, qmin=-1, qmax=1, grid=ternary";

class LevelGolden : public testing::Test {
 protected:
  std::vector<float> values(const std::string& name, const char* word) const {
    const auto all = archive_.tensor(cat(name, "/", word)).span<float>();
    return {all.begin(), all.end()};
  }
  OneNode node(const std::string& name, const std::string& attributes) const {
    return {archive_.tensor(cat(name, "/x")).shape(), attributes, values(name, "x")};
  }

  Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/binary.h5");
};

// Means of 40 or 240 magnitudes in another order: a few parts in 2^23.
constexpr double kTolerance = 2e-6;

void expect_near(const std::vector<float>& a, const std::vector<float>& b, const char* what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  double most = 0.0;
  for (const float value : b) most = std::max(most, std::fabs(static_cast<double>(value)));
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a[i], b[i], kTolerance * most) << what << "[" << i << "]";
  }
}

struct GoldenCase {
  const char* name;
  const char* quantizer;
  const char* grid;
  const char* tensor;  // what a scale covers
};
void PrintTo(const GoldenCase& of, std::ostream* out) { *out << of.name; }

class LevelGoldenCases : public LevelGolden, public testing::WithParamInterface<GoldenCase> {};

TEST_P(LevelGoldenCases, MatchTorch) {
  const GoldenCase& of = GetParam();
  OneNode one = node(of.name, cat("quantizer=", of.quantizer, of.grid, of.tensor));
  expect_near(one.forward(), values(of.name, "y"), "y");
  const bool threshold = archive_.has(cat(of.name, "/threshold"));
  EXPECT_EQ(threshold, one.store.has("q.threshold"));
  if (threshold) expect_near(one.value("q.threshold"), values(of.name, "threshold"), "threshold");
  expect_near(one.value("q.scale"), values(of.name, "scale"), "scale");
  one.backward(values(of.name, "dy"));
  expect_near(one.gradient("x"), values(of.name, "dx"), "dx");
}

INSTANTIATE_TEST_SUITE_P(
    Words, LevelGoldenCases,
    testing::Values(GoldenCase{"binary_connect", "binary-connect", kBinary, ", weight=1"},
                    GoldenCase{"bnn", "bnn", kBinary, ""},
                    GoldenCase{"bwn", "bwn", kBinary, ", axis=0"},
                    GoldenCase{"xnor", "xnor", kBinary, ", axis=0"},
                    GoldenCase{"dorefa", "dorefa", kBinary, ", weight=1"},
                    GoldenCase{"bi_real_weights", "bi-real", kBinary, ", axis=0"},
                    GoldenCase{"bi_real", "bi-real", kBinary, ""},
                    GoldenCase{"twn_rows", "twn", kTernary, ", axis=0"},
                    GoldenCase{"twn", "twn", kTernary, ", weight=1"},
                    GoldenCase{"twn_exact", "twn-exact", kTernary, ", axis=0"}),
    testing::PrintToStringParamName());

TEST_F(LevelGolden, TtqMatchesTorch) {
  OneNode one = node("ttq", cat("quantizer=ttq", kTernary, ", weight=1"));
  one.set("q.scale", values("ttq", "scale"));
  one.set("q.negative_scale", values("ttq", "negative_scale"));
  EXPECT_EQ(one.forward(), values("ttq", "y"));
  expect_near(one.value("q.threshold"), values("ttq", "threshold"), "threshold");
  one.backward(values("ttq", "dy"));
  expect_near(one.gradient("x"), values("ttq", "dx"), "dx");
  expect_near(one.gradient("q.scale"), values("ttq", "dscale"), "dscale");
  expect_near(one.gradient("q.negative_scale"), values("ttq", "dnegative_scale"), "dnegative");
}

TEST_F(LevelGolden, RsignMatchesTorch) {
  OneNode one = node("rsign", cat("quantizer=rsign", kBinary));
  one.set("q.threshold", values("rsign", "threshold"));
  EXPECT_EQ(one.forward(), values("rsign", "y"));
  one.backward(values("rsign", "dy"));
  expect_near(one.gradient("x"), values("rsign", "dx"), "dx");
  expect_near(one.gradient("q.threshold"), values("rsign", "dthreshold"), "dthreshold");
}

}  // namespace
}  // namespace bitloom::quant
