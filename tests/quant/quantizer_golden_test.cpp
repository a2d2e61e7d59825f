// LSQ+, PACT and DoReFa against PyTorch: tools/golden/qat.py, torch 2.
#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/io/hdf5_archive.h"
#include "quant/quantizer_harness.h"

namespace bitloom::quant {
namespace {

class QuantizerGolden : public testing::Test {
 protected:
  std::vector<float> values(const std::string& name, const char* word) const {
    const auto all = archive_.tensor(cat(name, "/", word)).span<float>();
    return {all.begin(), all.end()};
  }
  std::int64_t integer(const std::string& name, const char* word) const {
    return archive_.integer(name, word);
  }
  OneNode node(const std::string& name, const std::string& attributes) const {
    return {archive_.tensor(cat(name, "/x")).shape(), attributes, values(name, "x")};
  }

  Archive archive_ = io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/qat.h5");
};

void expect_near(const std::vector<float>& a, const std::vector<float>& b, double relative,
                 const char* what) {
  ASSERT_EQ(a.size(), b.size()) << what;
  double most = 0.0;
  for (const float value : b) most = std::max(most, std::fabs(static_cast<double>(value)));
  for (std::size_t i = 0; i < a.size(); ++i) {
    ASSERT_NEAR(a[i], b[i], relative * most) << what << "[" << i << "]";
  }
}

// Sums of 400 f32 products in another order: 1e-5 of the largest is ample.
constexpr double kSumTolerance = 1e-5;
// torch divides and multiplies by the scale on the way back: a few parts in 2^23.
constexpr double kElementTolerance = 1e-6;

TEST_F(QuantizerGolden, LsqPlusMatchesTorch) {
  for (const char* name : {"lsq_plus_u8", "lsq_plus_u4", "lsq_plus_u2"}) {
    SCOPED_TRACE(name);
    OneNode one =
        node(name, cat("quantizer=lsq+, bits=8, dtype=u8, qmin=0, qmax=", integer(name, "qmax")));
    one.set("q.scale", values(name, "scale"));
    one.set("q.offset", values(name, "offset"));
    EXPECT_EQ(one.forward(), values(name, "y"));  // bit for bit
    EXPECT_EQ(one.value("q.zero_point")[0], static_cast<float>(integer(name, "zero_point")));
    one.backward(values(name, "dy"));
    expect_near(one.gradient("x"), values(name, "dx"), kElementTolerance, "dx");
    expect_near(one.gradient("q.scale"), values(name, "dscale"), 10 * kSumTolerance, "dscale");
    expect_near(one.gradient("q.offset"), values(name, "doffset"), kSumTolerance, "doffset");
  }
}

TEST_F(QuantizerGolden, PactMatchesTorch) {
  for (const char* name : {"pact_u8", "pact_u4", "pact_s4"}) {
    SCOPED_TRACE(name);
    OneNode one =
        node(name, cat("quantizer=pact, bits=8, dtype=", integer(name, "qmin") < 0 ? "s8" : "u8",
                       ", qmin=", integer(name, "qmin"), ", qmax=", integer(name, "qmax")));
    one.set("q.alpha", values(name, "alpha"));
    expect_near(one.forward(), values(name, "y"), kElementTolerance, "y");
    one.backward(values(name, "dy"));
    EXPECT_EQ(one.gradient("x"), values(name, "dx"));
    expect_near(one.gradient("q.alpha"), values(name, "dalpha"), kSumTolerance, "dalpha");
  }
}

TEST_F(QuantizerGolden, DorefaWeightsMatchTorch) {
  for (const char* name : {"dorefa_w8", "dorefa_w4_rows", "dorefa_w2"}) {
    SCOPED_TRACE(name);
    const std::int64_t qmax = integer(name, "qmax");
    OneNode one =
        node(name, cat("quantizer=dorefa, bits=8, dtype=s8, qmin=", -qmax, ", qmax=", qmax,
                       integer(name, "per_channel") != 0 ? ", axis=0" : ", weight=1"));
    const std::vector<float> y = one.forward();
    // tanh of the C library and of torch differ by an ulp.
    expect_near(one.value("q.scale"), values(name, "scale"), kElementTolerance, "scale");
    expect_near(y, values(name, "y"), kElementTolerance, "y");
    const Tensor codes = weight_codes(*one.graph.find("q"), one.store);
    const std::vector<float> expected = values(name, "code");
    for (std::size_t i = 0; i < expected.size(); ++i) {
      ASSERT_EQ(codes.span<std::int8_t>()[i], static_cast<int>(expected[i])) << i;
    }
    one.backward(values(name, "dy"));
    expect_near(one.gradient("x"), values(name, "dx"), 4 * kElementTolerance, "dx");
  }
}

}  // namespace
}  // namespace bitloom::quant
