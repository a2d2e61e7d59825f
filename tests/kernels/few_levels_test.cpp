#include "bitloom/kernels/few_levels.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// Reals in (-2, 2) with zeros of both signs, edges of every mask and infinities among them.
std::vector<float> values(std::int64_t count, std::uint64_t stream) {
  const RandomStream random(7, stream);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.uniform(i) * 4.0F - 2.0F;
  const float special[] = {0.0F, -0.0F, 1.0F, -1.0F, 0.5F, -0.5F, kInfinity, -kInfinity};
  for (std::size_t i = 0; i < 8 && 3 * i < x.size(); ++i) x[3 * i] = special[i];
  return x;
}

std::vector<float> finite(std::int64_t count, std::uint64_t stream) {
  std::vector<float> x = values(count, stream);
  for (float& value : x) value = std::isfinite(value) ? value : 0.25F;
  return x;
}

struct Size {
  std::int64_t rows;
  std::int64_t cols;
};
const Size kSizes[] = {{1, 0},  {1, 1},  {5, 1},    {3, 15},  {2, 16},
                       {7, 17}, {5, 63}, {300, 64}, {33, 65}, {1, 33001}};

void expect_signs_match(const Size& size, bool has_threshold, std::size_t misalign) {
  const auto count = static_cast<std::size_t>(size.rows * size.cols);
  std::vector<float> x(misalign), dy(misalign);
  const std::vector<float> reals = values(size.rows * size.cols, 1);
  const std::vector<float> gradient = finite(size.rows * size.cols, 2);
  x.insert(x.end(), reals.begin(), reals.end());
  dy.insert(dy.end(), gradient.begin(), gradient.end());
  std::vector<float> threshold = finite(size.cols + 1, 3);
  for (float& value : threshold) value *= 0.25F;
  const SignRows rows{size.rows, size.cols, has_threshold ? threshold.data() : nullptr};
  const float* px = x.data() + misalign;
  const float* pdy = dy.data() + misalign;

  std::vector<std::int8_t> codes(count + misalign), codes_ref(count + misalign);
  sign_codes(px, rows, codes.data() + misalign);
  reference::sign_codes(px, rows, codes_ref.data() + misalign);
  EXPECT_EQ(codes, codes_ref);

  std::vector<float> dx(count), dx_ref(count);
  hardtanh_gradient(px, pdy, size.rows * size.cols, dx.data());
  reference::hardtanh_gradient(px, pdy, size.rows * size.cols, dx_ref.data());
  EXPECT_EQ(dx, dx_ref);
}

// A gradient in f32 or bf16 of so many elements, the same values for the same stream.
struct Gradient {
  Gradient(DType dtype, std::int64_t count, std::uint64_t stream)
      : tensor(dtype, Shape{std::max<std::int64_t>(count, 1)}) {
    const std::vector<float> reals = finite(count, stream);
    for (std::size_t i = 0; i < reals.size(); ++i) {
      write_gradient(to(), static_cast<std::int64_t>(i), reals[i]);
    }
  }
  InputGradient to() { return {tensor.raw(), tensor.dtype()}; }
  bool operator==(const Gradient& other) const {
    return std::memcmp(tensor.raw(), other.tensor.raw(), tensor.bytes()) == 0;
  }
  Tensor tensor;
};

struct GradientCase {
  DType from, to;
  bool second, thresholds, sums, adds;
};

void expect_gradients_match(const Size& size, const GradientCase& of, std::size_t misalign) {
  const std::int64_t count = size.rows * size.cols;
  std::vector<float> x(misalign);
  const std::vector<float> reals = values(count, 1);
  x.insert(x.end(), reals.begin(), reals.end());
  std::vector<float> threshold = finite(size.cols, 3);
  for (float& value : threshold) value *= 0.25F;
  const ChannelRows channels{size.rows, size.cols, size.rows > 100 ? 3 : 1};
  std::vector<double> scratch(channel_scratch_bytes(channels) / sizeof(double));
  const Gradient first(of.from, count, 2), second(of.from, count, 5);
  const auto run = [&](auto function, const OutputGradient& dy, InputGradient dx,
                       std::vector<float>& sums) {
    sums.assign(static_cast<std::size_t>(size.cols), 0.0F);
    function({.x = x.data() + misalign,
              .threshold = of.thresholds ? threshold.data() : nullptr,
              .dy = dy,
              .dx = dx,
              .adds = of.adds,
              .sums = of.sums ? sums.data() : nullptr},
             channels, reinterpret_cast<std::byte*>(scratch.data()));
  };
  const OutputGradient dy{first.tensor.raw(), of.second ? second.tensor.raw() : nullptr, of.from};
  Gradient dx(of.to, count, 4), dx_ref(of.to, count, 4);
  std::vector<float> sums, sums_ref, again;
  run(approx_sign_gradient, dy, dx.to(), sums);
  run(reference::approx_sign_gradient, dy, dx_ref.to(), sums_ref);
  EXPECT_TRUE(dx == dx_ref);
  // f32 sums of at most 128 terms below 8.
  for (std::size_t c = 0; c < sums.size(); ++c) EXPECT_NEAR(sums[c], sums_ref[c], 5e-4) << c;
  if (of.adds) return;
  run(approx_sign_gradient, dy, {}, again);
  EXPECT_EQ(again, sums);
  if (of.from != of.to) return;
  Gradient in_place(of.from, count, 2);
  run(approx_sign_gradient, {in_place.tensor.raw(), dy.second, of.from}, in_place.to(), again);
  EXPECT_TRUE(in_place == dx);
}

const GradientCase kGradientCases[] = {{DType::kF32, DType::kF32, false, false, false, false},
                                       {DType::kF32, DType::kF32, false, true, true, true},
                                       {DType::kF32, DType::kF32, false, true, true, false},
                                       {DType::kBf16, DType::kBf16, false, false, false, false},
                                       {DType::kBf16, DType::kBf16, true, true, true, false},
                                       {DType::kBf16, DType::kF32, false, false, false, true},
                                       {DType::kF32, DType::kBf16, true, true, false, false}};

void expect_ternary_matches(const Size& size, bool per_row, std::size_t misalign) {
  const auto count = static_cast<std::size_t>(size.rows * size.cols);
  std::vector<float> x(misalign);
  const std::vector<float> reals = finite(size.rows * size.cols, 4);
  x.insert(x.end(), reals.begin(), reals.end());
  std::vector<float> threshold(static_cast<std::size_t>(size.rows), 0.5F);
  for (std::size_t row = 1; row < threshold.size(); ++row) {
    threshold[row] = 0.01F * static_cast<float>(row % 100);
  }
  const TernaryRows rows{size.rows, size.cols, threshold.data(), per_row};
  std::vector<std::int8_t> codes(count + misalign), codes_ref(count + misalign);
  ternary_codes(x.data() + misalign, rows, codes.data() + misalign);
  reference::ternary_codes(x.data() + misalign, rows, codes_ref.data() + misalign);
  EXPECT_EQ(codes, codes_ref);

  for (const bool all : {false, true}) {
    const TernaryRows taken{size.rows, size.cols, all ? nullptr : threshold.data(), per_row};
    std::vector<MagnitudeSum> sums(threshold.size()), sums_ref(threshold.size());
    magnitude_sums(x.data() + misalign, taken, sums.data());
    reference::magnitude_sums(x.data() + misalign, taken, sums_ref.data());
    for (std::size_t row = 0; row < sums.size(); ++row) {
      EXPECT_EQ(sums[row].count, sums_ref[row].count);
      EXPECT_NEAR(sums[row].sum, sums_ref[row].sum, 1e-6 * sums_ref[row].sum + 1e-12);
    }
  }
}

TEST(FewLevelKernels, MatchTheirReferenceOnEveryTarget) {
  std::size_t checked = 0;
  const int targets = for_each_highway_target([&] {
    for (const Size& size : kSizes) {
      SCOPED_TRACE(testing::Message() << size.rows << "x" << size.cols);
      for (const GradientCase& of : kGradientCases) {
        for (const std::size_t misalign : {0U, 1U}) expect_gradients_match(size, of, misalign);
      }
      for (const bool flag : {false, true}) {
        for (const std::size_t misalign : {0U, 1U}) {
          expect_signs_match(size, flag, misalign);
          expect_ternary_matches(size, flag, misalign);
          ++checked;
        }
      }
    }
  });
  EXPECT_GE(targets, 1);
  EXPECT_EQ(checked, 4 * std::size(kSizes) * static_cast<std::size_t>(targets));
}

// sign(0) = +1 for both zeros; a NaN is no sign at all and gives -1.
TEST(SignCodes, OfZerosAndOfNaN) {
  const std::vector<float> x = {0.0F, -0.0F, 1e-45F, -1e-45F, std::nanf("")};
  std::vector<std::int8_t> codes(5);
  sign_codes(x.data(), {1, 5, nullptr}, codes.data());
  EXPECT_EQ(codes, (std::vector<std::int8_t>{1, 1, 1, -1, -1}));
}

TEST(TernaryCodes, LeaveTheThresholdItselfAtZero) {
  const std::vector<float> x = {-0.6F, -0.5F, 0.0F, 0.5F, 0.6F};
  const float threshold = 0.5F;
  std::vector<std::int8_t> codes(5);
  ternary_codes(x.data(), {1, 5, &threshold, false}, codes.data());
  EXPECT_EQ(codes, (std::vector<std::int8_t>{-1, 0, 0, 0, 1}));
}

TEST(SignGradients, AtInsideEdgeAndOutsidePoints) {
  const std::vector<float> x = {-1.5F, -1.0F, -0.25F, 0.0F, 0.75F, 1.0F, 1.25F};
  const std::vector<float> dy(7, 8.0F);
  std::vector<float> dx(7);
  hardtanh_gradient(x.data(), dy.data(), 7, dx.data());
  EXPECT_EQ(dx, (std::vector<float>{0, 8, 8, 8, 8, 8, 0}));
  approx_sign_gradient({.x = x.data(), .dy = {.first = dy.data()}, .dx = {.at = dx.data()}},
                       {1, 7, 1}, nullptr);
  EXPECT_EQ(dx, (std::vector<float>{0, 0, 12, 16, 4, 0, 0}));
}

}  // namespace
}  // namespace bitloom::kernels
