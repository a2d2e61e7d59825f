#include "bitloom/kernels/fake_quant.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bitloom/core/parallel.h"
#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

integer::AffineFormat unsigned_format(int bits, std::int32_t zero_point = 0) {
  return {bits, false, zero_point, {0, (1 << bits) - 1}};
}

integer::AffineFormat signed_format(int bits) {
  return {bits, true, 0, {-(1 << (bits - 1)), (1 << (bits - 1)) - 1}};
}

struct Case {
  std::int64_t rows;
  std::int64_t cols;
  bool per_row;
  integer::AffineFormat format;
};

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const std::int64_t cols : {0, 1, 63, 64, 65, 33001}) {
    all.push_back({1, cols, false, unsigned_format(8)});
    all.push_back({1, cols, false, unsigned_format(4)});
    all.push_back({1, cols, false, unsigned_format(8, 128)});
    all.push_back({1, cols, false, signed_format(8)});
    all.push_back({7, cols, true, signed_format(3)});
  }
  return all;
}

// Values around the grid: ties, both clamps, zeros of both signs, infinities.
std::vector<float> values(std::int64_t count, float scale, std::uint64_t stream) {
  const RandomStream random(7, stream);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const float code = (random.uniform(i) * 1.4F - 0.2F) * 300.0F - 40.0F;
    x[i] = i % 5 == 0 ? scale * (std::floor(code) + 0.5F) : scale * code;
  }
  const float special[] = {0.0F, -0.0F, kInfinity, -kInfinity};
  for (std::size_t i = 0; i < 4 && 8 + i < x.size(); ++i) x[8 + i] = special[i];
  return x;
}

void expect_matches_reference(const Case& c, std::size_t misalign) {
  const auto count = static_cast<std::size_t>(c.rows * c.cols);
  std::vector<float> scale(static_cast<std::size_t>(c.rows));
  for (std::size_t row = 0; row < scale.size(); ++row) {
    scale[row] = 0.0125F * static_cast<float>(row + 1);
  }
  const RowsFormat rows{c.rows, c.cols, scale.data(), c.per_row, c.format};
  std::vector<float> x(count + misalign);
  std::vector<float> dy(count + misalign);
  const std::vector<float> source = values(c.rows * c.cols, scale[0], 1);
  const std::vector<float> gradient = values(c.rows * c.cols, 0.001F, 2);
  std::copy(source.begin(), source.end(), x.begin() + static_cast<std::ptrdiff_t>(misalign));
  for (std::size_t i = 0; i < count; ++i) {
    dy[misalign + i] = std::isfinite(gradient[i]) ? gradient[i] : 1.0F;
  }
  const float* px = x.data() + misalign;
  const float* pdy = dy.data() + misalign;

  std::vector<std::uint8_t> codes(count + 1), codes_ref(count + 1);
  quantize(px, rows, codes.data() + misalign);
  reference::quantize(px, rows, codes_ref.data() + misalign);
  EXPECT_EQ(codes, codes_ref);

  std::vector<float> y(count), y_ref(count);
  dequantize(codes.data() + misalign, rows, y.data());
  reference::dequantize(codes.data() + misalign, rows, y_ref.data());
  EXPECT_EQ(y, y_ref);
  std::vector<float> fake(count);
  fake_quantize(px, rows, fake.data());
  EXPECT_EQ(fake, y_ref);
  reference::fake_quantize(px, rows, fake.data());
  EXPECT_EQ(fake, y_ref);
  add_dequantized(pdy, codes.data() + misalign, rows, y.data());
  reference::add_dequantized(pdy, codes.data() + misalign, rows, y_ref.data());
  EXPECT_EQ(y, y_ref);
  add_residual(pdy, codes.data() + misalign, rows, y.data());
  reference::add_residual(pdy, codes.data() + misalign, rows, y_ref.data());
  EXPECT_EQ(y, y_ref);

  std::vector<float> dx(count), dx_ref(count);
  std::vector<GradientSums> sums(static_cast<std::size_t>(c.rows)), sums_ref(sums.size());
  fake_quantize_backward(px, pdy, rows, dx.data(), sums.data());
  reference::fake_quantize_backward(px, pdy, rows, dx_ref.data(), sums_ref.data());
  EXPECT_EQ(dx, dx_ref);
  // f32 sums of at most 4096 / lanes terms: error below 1e-6 of the sum of magnitudes.
  double magnitude = 0.0;
  for (std::size_t i = 0; i < count; ++i) {
    magnitude += std::abs(static_cast<double>(pdy[i]));
  }
  for (std::size_t row = 0; row < sums.size(); ++row) {
    EXPECT_NEAR(sums[row].inside, sums_ref[row].inside, 1e-6 * magnitude + 1e-12);
    EXPECT_NEAR(sums[row].below, sums_ref[row].below, 1e-6 * magnitude + 1e-12);
    EXPECT_NEAR(sums[row].above, sums_ref[row].above, 1e-6 * magnitude + 1e-12);
  }
  if (count > 0) {
    const auto size = static_cast<std::int64_t>(count);
    const MinMax range = min_max(pdy, size);
    const MinMax range_ref = reference::min_max(pdy, size);
    EXPECT_EQ(range.min, range_ref.min);
    EXPECT_EQ(range.max, range_ref.max);
    // Wherever it stands, a value that is not finite shows.
    for (const float bad : {kInfinity, -kInfinity, std::nanf("")}) {
      const std::size_t place = misalign + (count * 2) / 3;
      const float kept = dy[place];
      dy[place] = bad;
      EXPECT_TRUE(std::isnan(min_max(pdy, size).min)) << bad;
      EXPECT_TRUE(std::isnan(reference::min_max(pdy, size).max)) << bad;
      dy[place] = kept;
    }
  }
}

TEST(FakeQuantKernels, MatchTheirReferenceOnEveryTarget) {
  std::size_t checked = 0;
  const int targets = for_each_highway_target([&] {
    for (const Case& c : cases()) {
      SCOPED_TRACE(testing::Message() << c.rows << "x" << c.cols << " bits " << c.format.bits);
      expect_matches_reference(c, 0);
      expect_matches_reference(c, 1);
      ++checked;
    }
  });
  EXPECT_GE(targets, 1);
  EXPECT_EQ(checked, cases().size() * static_cast<std::size_t>(targets));
}

TEST(FakeQuantKernels, MinMaxOfRowsMatchesItsReference) {
  std::size_t checked = 0;
  for_each_highway_target([&] {
    for (const std::int64_t rows : {1, 2, 7}) {
      for (const std::int64_t cols : {1, 63, 64, 65, 20001}) {
        std::vector<float> x = values(rows * cols, 0.01F, 5);
        for (float& value : x) value = std::isfinite(value) ? value : -1.0F;
        if (rows == 7) x[static_cast<std::size_t>(3 * cols + cols / 2)] = kInfinity;
        std::vector<MinMax> found(static_cast<std::size_t>(rows)), expected(found.size());
        min_max_rows(x.data(), rows, cols, found.data());
        reference::min_max_rows(x.data(), rows, cols, expected.data());
        for (std::size_t row = 0; row < found.size(); ++row) {
          if (rows == 7 && row == 3) {
            EXPECT_TRUE(std::isnan(found[row].min) && std::isnan(found[row].max));
            EXPECT_TRUE(std::isnan(expected[row].min));
          } else {
            EXPECT_EQ(found[row].min, expected[row].min) << rows << "x" << cols;
            EXPECT_EQ(found[row].max, expected[row].max) << rows << "x" << cols;
          }
          ++checked;
        }
      }
    }
  });
  EXPECT_GE(checked, 50U);
}

TEST(FakeQuantKernels, GradientSumsAreTheSameInEveryRun) {
  const std::vector<float> x = values(200000, 0.01F, 3);
  std::vector<float> dy(x.size(), 0.37F), dx(x.size());
  const float scale = 0.01F;
  const RowsFormat rows{1, 200000, &scale, false, unsigned_format(8)};
  GradientSums first;
  fake_quantize_backward(x.data(), dy.data(), rows, dx.data(), &first);
  EXPECT_NE(first.inside, 0.0);
  EXPECT_NE(first.below, 0.0);
  for (int run = 0; run < 5; ++run) {
    GradientSums again;
    fake_quantize_backward(x.data(), dy.data(), rows, dx.data(), &again);
    EXPECT_EQ(std::memcmp(&first, &again, sizeof(GradientSums)), 0);
  }
}

// scale 0.5, codes 0..3: v = x * 2. x = -0.5 clips below, 0 and 1.5 sit on the edges and pass,
// 0.6 is inside with round(1.2) - 1.2 = -0.2, 2 clips above.
TEST(FakeQuantKernels, GradientAtInsideEdgeAndOutsidePoints) {
  const std::vector<float> x = {-0.5F, 0.0F, 0.6F, 1.5F, 2.0F};
  const std::vector<float> dy = {10.0F, 20.0F, 30.0F, 40.0F, 50.0F};
  std::vector<float> dx(5);
  const float scale = 0.5F;
  GradientSums sums;
  fake_quantize_backward(x.data(), dy.data(), {1, 5, &scale, false, unsigned_format(2)}, dx.data(),
                         &sums);
  EXPECT_EQ(dx, (std::vector<float>{0, 20, 30, 40, 0}));
  EXPECT_NEAR(sums.inside, 30.0 * -0.2, 1e-5);
  EXPECT_EQ(sums.below, 10.0);
  EXPECT_EQ(sums.above, 50.0);
}

}  // namespace
}  // namespace bitloom::kernels
