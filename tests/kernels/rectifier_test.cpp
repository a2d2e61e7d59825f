#include "bitloom/kernels/rectifier.h"

#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

std::vector<float> values(std::int64_t count, std::uint64_t stream) {
  const RandomStream random(11, stream);
  std::vector<float> x(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < x.size(); ++i) x[i] = random.uniform(i) * 4.0F - 2.0F;
  for (std::size_t i = 0; i < x.size(); i += 7) x[i] = i % 2 == 0 ? 0.0F : -0.0F;
  return x;
}

struct Case {
  std::int64_t rows;
  std::int64_t channels;
  int pieces;
};
const Case kCases[] = {{1, 1, 1},  {5, 3, 1},    {129, 4, 2},  {300, 16, 3},
                       {7, 17, 1}, {257, 63, 2}, {300, 64, 1}, {130, 131, 2}};

std::vector<std::byte> scratch_for(const ChannelRows& size) {
  return std::vector<std::byte>(channel_scratch_bytes(size));
}

// dy in f32, one term, and in bf16, two; dx of the same type or the other.
void expect_gradients_match(const std::vector<float>& x, const ChannelRows& size,
                            const RectifierChannels& numbers, DType from, DType to) {
  const std::int64_t count = size.rows * size.channels;
  const auto term = [&](std::uint64_t stream) {
    Tensor tensor(from, Shape{count});
    const std::vector<float> reals = values(count, stream);
    for (std::int64_t i = 0; i < count; ++i) {
      write_gradient({tensor.raw(), from}, i, reals[static_cast<std::size_t>(i)]);
    }
    return tensor;
  };
  Tensor first = term(2);
  const Tensor second = term(6);
  const bool two = from == DType::kBf16;
  const bool shifts = numbers.threshold != nullptr;
  std::vector<std::byte> scratch = scratch_for(size);
  const auto run = [&](auto function, InputGradient dx) {
    std::vector<float> sums(static_cast<std::size_t>(3 * size.channels), -7.0F);
    function(x.data(), size, numbers,
             OutputGradient{first.raw(), two ? second.raw() : nullptr, from},
             RectifierGradients{.slope = sums.data(),
                                .threshold = shifts ? sums.data() + size.channels : nullptr,
                                .offset = shifts ? sums.data() + 2 * size.channels : nullptr},
             dx, scratch.data());
    return sums;
  };
  Tensor dx(to, Shape{count}), dx_ref(to, Shape{count});
  const std::vector<float> sums = run(rectify_gradient, {dx.raw(), to});
  const std::vector<float> sums_ref = run(reference::rectify_gradient, {dx_ref.raw(), to});
  EXPECT_EQ(std::memcmp(dx.raw(), dx_ref.raw(), dx.bytes()), 0);
  // f32 sums of at most 128 terms below 8.
  for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_NEAR(sums[i], sums_ref[i], 1e-3) << i;
  EXPECT_EQ(run(rectify_gradient, {}), sums);
  if (from != to) return;
  EXPECT_EQ(run(rectify_gradient, {first.raw(), from}), sums);  // in place
  EXPECT_EQ(std::memcmp(first.raw(), dx.raw(), dx.bytes()), 0);
}

void expect_match(const Case& of, bool shifts) {
  const ChannelRows size{of.rows, of.channels, of.pieces};
  const std::int64_t count = of.rows * of.channels;
  const std::vector<float> x = values(count, 1);
  const std::vector<float> slope = values(of.channels, 3);
  const std::vector<float> threshold = values(of.channels, 4);
  const std::vector<float> offset = values(of.channels, 5);
  const RectifierChannels numbers{.slope = slope.data(),
                                  .threshold = shifts ? threshold.data() : nullptr,
                                  .offset = shifts ? offset.data() : nullptr};
  std::vector<float> y(x.size()), y_ref(x.size());
  rectify(x.data(), size, numbers, y.data());
  reference::rectify(x.data(), size, numbers, y_ref.data());
  EXPECT_EQ(y, y_ref);
  y = x;  // in place
  rectify(y.data(), size, numbers, y.data());
  EXPECT_EQ(y, y_ref);

  for (const DType from : {DType::kF32, DType::kBf16}) {
    for (const DType to : {DType::kF32, DType::kBf16}) {
      expect_gradients_match(x, size, numbers, from, to);
    }
  }
}

TEST(Rectifier, MatchesItsReferenceOnEveryTarget) {
  const int targets = for_each_highway_target([] {
    for (const Case& of : kCases) {
      SCOPED_TRACE(testing::Message() << of.rows << "x" << of.channels);
      for (const bool shifts : {false, true}) expect_match(of, shifts);
    }
  });
  EXPECT_GE(targets, 1);
}

// t = 1, slope 0.5, offset 10: at x = 3, v = 2; at x = -1, v = -2; at x = 1, v = 0, which is not
// above the threshold.
TEST(Rectifier, ByHand) {
  const float x[] = {3.0F, -1.0F, 1.0F};
  const float dy[] = {4.0F, 6.0F, 8.0F};
  const float slope = 0.5F, threshold = 1.0F, offset = 10.0F;
  const ChannelRows size{3, 1, 1};
  const RectifierChannels numbers{&slope, &threshold, &offset};
  float y[3];
  rectify(x, size, numbers, y);
  EXPECT_EQ(std::vector<float>(y, y + 3), (std::vector<float>{12.0F, 9.0F, 10.0F}));
  float dx[3], dslope = 0.0F, dthreshold = 0.0F, doffset = 0.0F;
  std::vector<std::byte> scratch = scratch_for(size);
  rectify_gradient(x, size, numbers, {.first = dy}, {&dslope, &dthreshold, &doffset}, {.at = dx},
                   scratch.data());
  EXPECT_EQ(std::vector<float>(dx, dx + 3), (std::vector<float>{4.0F, 3.0F, 4.0F}));
  EXPECT_EQ(dslope, -12.0F);      // 6 * -2
  EXPECT_EQ(dthreshold, -11.0F);  // -(4 + 3 + 4)
  EXPECT_EQ(doffset, 18.0F);
}

}  // namespace
}  // namespace bitloom::kernels
