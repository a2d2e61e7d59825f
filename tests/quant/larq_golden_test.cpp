// Quantizers of few bits beside larq's own: tools/golden/larq_quantizers.py, larq 0.13.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "bitloom/io/hdf5_archive.h"
#include "quant/quantizer_harness.h"

namespace bitloom::quant {
namespace {

constexpr const char* kBinary = ", bits=1, dtype=s8, qmin=-1, qmax=1, grid=binary";
constexpr std::size_t kColumns = 40;  // weights of an output channel

std::vector<float> scaled(std::vector<float> values, const std::vector<float>& row_factors) {
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] *= row_factors[row_factors.size() == 1 ? 0 : i / kColumns];
  }
  return values;
}

class LarqGolden : public testing::Test {
 protected:
  std::vector<float> values(const std::string& name, const char* word) const {
    const auto all = archive_.tensor(cat(name, "/", word)).span<float>();
    return {all.begin(), all.end()};
  }
  /// `quantizer` on the case's x, forward and backward run.
  OneNode ran(const std::string& name, const std::string& quantizer) const {
    OneNode one(archive_.tensor(cat(name, "/x")).shape(), cat("quantizer=", quantizer),
                values(name, "x"));
    one.forward();
    one.backward(values(name, "dy"));
    return one;
  }

  Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/larq_quantizers.h5");
};

void expect_near(const std::vector<float>& a, const std::vector<float>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], tolerance) << i;
}

// Sums and tanh in another order: a few parts in 2^23 of numbers up to 4.
constexpr double kTolerance = 2e-6;

struct Twin {
  const char* larq;
  const char* quantizer;
  const char* tensor;
};
void PrintTo(const Twin& of, std::ostream* out) { *out << of.larq; }

class LarqTwins : public LarqGolden, public testing::WithParamInterface<Twin> {};

TEST_P(LarqTwins, AreEqualInEveryBit) {
  const Twin& of = GetParam();
  OneNode one = ran(of.larq, cat(of.quantizer, kBinary, of.tensor));
  EXPECT_EQ(one.forward(), values(of.larq, "y"));
  EXPECT_EQ(one.gradient("x"), values(of.larq, "dx"));
}

INSTANTIATE_TEST_SUITE_P(Signs, LarqTwins,
                         testing::Values(Twin{"ste_sign", "bnn", ""},
                                         Twin{"ste_sign_unclipped", "binary-connect", ", weight=1"},
                                         Twin{"approx_sign", "bi-real", ""}),
                         testing::PrintToStringParamName());

// larq multiplies the clipped sign by the mean magnitude in the graph, so its gradient carries that
// factor. Ours of Bi-Real does not: there the magnitude belongs to the forward pass alone, as in
// the paper's published code, and the step would shrink with the weights. "xnor" has larq's term
// and that of the mean's own derivative, which larq stops.
TEST_F(LarqGolden, MagnitudeAwareSignIsBiRealsWithTheMagnitudeInItsGradient) {
  const std::string name = "magnitude_aware_sign";
  OneNode one = ran(name, cat("bi-real", kBinary, ", axis=0"));
  expect_near(one.forward(), values(name, "y"), kTolerance);
  const std::vector<float> magnitudes = one.value("q.scale");
  ASSERT_EQ(magnitudes.size(), 6U);
  expect_near(scaled(one.gradient("x"), magnitudes), values(name, "dx"), kTolerance);

  OneNode frozen = ran(name, cat("xnor", kBinary, ", axis=0"));
  expect_near(frozen.forward(), values(name, "y"), kTolerance);
}

// larq leaves out TWN's scale: its codes are ours.
TEST_F(LarqGolden, SteTernIsTwnWithoutItsScale) {
  const std::string name = "ste_tern";
  OneNode one = ran(name, "twn, bits=2, dtype=s8, qmin=-1, qmax=1, grid=ternary, weight=1");
  const std::vector<float> codes = values(name, "y");
  EXPECT_GT(std::count(codes.begin(), codes.end(), 0.0F), 50);
  EXPECT_EQ(one.forward(), scaled(codes, one.value("q.scale")));
  EXPECT_EQ(one.gradient("x"), values(name, "dx"));
}

// At a tie larq multiplies by n, ours by 1 / (1/n), which may lie an ulp below n: then the level
// below. 0.5 is a tie for every n, and in the data.
TEST_F(LarqGolden, DorefaActivationsHaveTheSameLevelsAndWindow) {
  for (const int bits : {2, 4, 8}) {
    SCOPED_TRACE(bits);
    const std::string name = cat("dorefa_activations", bits);
    const int levels = (1 << bits) - 1;
    OneNode one = ran(name, cat("dorefa, bits=", bits, ", dtype=u8, qmin=0, qmax=", levels));
    const std::vector<float> x = values(name, "x");
    const std::vector<float> theirs = values(name, "y");
    const std::vector<float> mine = one.forward();
    int ties = 0;
    for (std::size_t i = 0; i < x.size(); ++i) {
      const double position = static_cast<double>(x[i]) * levels;
      const bool tie = std::fabs(position - std::floor(position) - 0.5) < 1e-6;
      ties += tie ? 1 : 0;
      ASSERT_NEAR(mine[i], theirs[i], tie ? 1.000001 / levels : 1e-7) << i;
    }
    EXPECT_LE(ties, 4);
    EXPECT_EQ(one.gradient("x"), values(name, "dx"));
  }
}

// Equation 9 has 2^b levels without 0 among them, and divides by m = max |tanh(w)|. Ours have
// 2^b - 1 levels with 0, and keep m (dorefa.h): so each lies within half a step of tanh(w) / m, and
// ours' gradient is m times larq's.
TEST_F(LarqGolden, DorefaWeightsFollowTheSameTanh) {
  for (const int bits : {2, 4, 8}) {
    SCOPED_TRACE(bits);
    const std::string name = cat("dorefa_weights", bits);
    const int qmax = (1 << (bits - 1)) - 1;
    OneNode one = ran(name, cat("dorefa, bits=", bits, ", dtype=s8, qmin=", -qmax, ", qmax=", qmax,
                                ", weight=1"));
    float most = 0.0F;
    for (const float w : values(name, "x")) most = std::max(most, std::fabs(std::tanh(w)));
    const std::vector<float> theirs = values(name, "y");
    const std::vector<float> mine = one.forward();
    const double half_steps = 0.5 / qmax + 1.0 / ((1 << bits) - 1);
    double farthest = 0.0;
    for (std::size_t i = 0; i < mine.size(); ++i) {
      farthest = std::max(farthest, std::fabs(static_cast<double>(mine[i] / most) - theirs[i]));
    }
    EXPECT_LE(farthest, half_steps * 1.0001);
    EXPECT_GT(farthest, 0.5 * half_steps) << "other levels: they do not coincide";
    expect_near(one.gradient("x"), scaled(values(name, "dx"), {most}), kTolerance);
  }
}

}  // namespace
}  // namespace bitloom::quant
