#include "bitloom/kernels/sign_bits.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr std::int64_t kChannels[] = {1, 3, 15, 16, 17, 31, 32, 33, 63, 64, 65, 127, 130};
constexpr std::int64_t kPixels = 7;

std::vector<float> reals(std::int64_t count, std::uint64_t seed) {
  const RandomStream random(seed, "reals");
  std::vector<float> x;
  for (std::int64_t i = 0; i < count; ++i) {
    x.push_back(random.normal(static_cast<std::uint64_t>(i)));
  }
  const float special[] = {0.0F,
                           -0.0F,
                           std::numeric_limits<float>::infinity(),
                           -std::numeric_limits<float>::infinity(),
                           std::numeric_limits<float>::quiet_NaN(),
                           -std::numeric_limits<float>::denorm_min()};
  for (std::size_t i = 0; i < 6 && i < x.size(); ++i) x[x.size() - 1 - i] = special[i];
  return x;
}

std::vector<std::int8_t> ternary_codes(std::int64_t count) {
  const RandomStream random(3, "codes");
  std::vector<std::int8_t> codes;
  for (std::int64_t i = 0; i < count; ++i) {
    codes.push_back(static_cast<std::int8_t>(
        static_cast<int>(random.below(static_cast<std::uint64_t>(i), 3)) - 1));
  }
  return codes;
}

TEST(SignBits, EqualTheReferenceOnEveryTarget) {
  const int targets = for_each_highway_target([] {
    for (const std::int64_t channels : kChannels) {
      const BitRows rows{kPixels, channels};
      const auto words = static_cast<std::size_t>(kPixels * sign_words(channels));
      const std::vector<float> x = reals(kPixels * channels, 1);
      const std::vector<float> m = reals(channels, 2);
      const std::vector<float> b = reals(channels, 4);
      std::vector<std::uint32_t> found(words, ~0U), expected(words);
      for (const bool affine : {false, true}) {
        const float* slope = affine ? m.data() : nullptr;
        const float* offset = affine ? b.data() : nullptr;
        pack_signs(x.data(), rows, slope, offset, found.data());
        reference::pack_signs(x.data(), rows, slope, offset, expected.data());
        EXPECT_EQ(found, expected) << channels;
      }
      const std::vector<std::int8_t> codes = ternary_codes(kPixels * channels);
      std::vector<std::uint32_t> nonzero(words, ~0U), nonzero_expected(words);
      pack_codes(codes.data(), rows, found.data(), nonzero.data());
      reference::pack_codes(codes.data(), rows, expected.data(), nonzero_expected.data());
      EXPECT_EQ(found, expected) << channels;
      EXPECT_EQ(nonzero, nonzero_expected) << channels;
    }
  });
  EXPECT_GE(targets, 1);
}

TEST(SignBits, ZeroOfEitherSignIsPlusOneAndNanIsMinusOne) {
  const float x[] = {0.0F, -0.0F, 1.0F, -1.0F, std::numeric_limits<float>::quiet_NaN()};
  std::uint32_t bits = 0;
  pack_signs(x, {1, 5}, nullptr, nullptr, &bits);
  EXPECT_EQ(bits, 0b11000U);
  std::int8_t codes[5];
  unpack_signs(&bits, {1, 5}, codes);
  EXPECT_EQ(std::vector<std::int8_t>(codes, codes + 5),
            (std::vector<std::int8_t>{1, 1, 1, -1, -1}));
}

// One channel in two falls: its lowest code wins.
TEST(SignBits, MaxPoolTakesTheLargestOrTheLowestCode) {
  const std::int64_t channels = 35;
  const Shape source{2, channels, 5, 6};
  const integer::Window window{.kernel_h = 3, .kernel_w = 3, .stride = 2, .pad = 1};
  std::vector<std::int8_t> codes = ternary_codes(source.elements());
  for (std::int8_t& code : codes) code = code < 0 ? -1 : 1;
  std::vector<std::uint32_t> bits(static_cast<std::size_t>(2 * 5 * 6 * sign_words(channels)));
  pack_codes(codes.data(), {2 * 5 * 6, channels}, bits.data(), nullptr);
  const std::uint32_t lowest[] = {0xAAAAAAAAU, 0x2U};
  std::vector<std::uint32_t> pooled(static_cast<std::size_t>(2 * 3 * 3 * sign_words(channels)));
  max_pool_signs(bits.data(), source, window, lowest, pooled.data());
  std::vector<std::int8_t> found(static_cast<std::size_t>(2 * 3 * 3 * channels));
  unpack_signs(pooled.data(), {2 * 3 * 3, channels}, found.data());
  for (std::int64_t i = 0; i < 2 * 3 * 3 * channels; ++i) {
    const std::int64_t c = i % channels;
    const std::int64_t x = i / channels % 3 * 2 - 1;
    const std::int64_t y = i / channels / 3 % 3 * 2 - 1;
    const std::int64_t image = i / channels / 9;
    int best = c % 2 == 1 ? 1 : -1;
    for (std::int64_t tap = 0; tap < 9; ++tap) {
      const std::int64_t iy = y + tap / 3;
      const std::int64_t ix = x + tap % 3;
      if (iy < 0 || iy >= 5 || ix < 0 || ix >= 6) continue;
      const int code = codes[static_cast<std::size_t>(((image * 5 + iy) * 6 + ix) * channels + c)];
      best = c % 2 == 1 ? std::min(best, code) : std::max(best, code);
    }
    EXPECT_EQ(found[static_cast<std::size_t>(i)], best) << i;
  }
}

}  // namespace
}  // namespace bitloom::kernels
