#include "bitloom/kernels/rectifier.h"

#include <gtest/gtest.h>

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

void expect_match(const Case& of, bool shifts, bool asks) {
  const ChannelRows size{of.rows, of.channels, of.pieces};
  const std::int64_t count = of.rows * of.channels;
  const std::vector<float> x = values(count, 1);
  const std::vector<float> dy = values(count, 2);
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

  std::vector<std::byte> scratch = scratch_for(size);
  const auto gradients = [&](auto function, std::vector<float>& sums, const float* from,
                             float* dx) {
    sums.assign(static_cast<std::size_t>(3 * of.channels), -7.0F);
    function(x.data(), size, numbers, from,
             RectifierGradients{.slope = sums.data(),
                                .threshold = shifts ? sums.data() + of.channels : nullptr,
                                .offset = shifts ? sums.data() + 2 * of.channels : nullptr},
             dx, scratch.data());
  };
  std::vector<float> dx(x.size()), dx_ref(x.size()), sums, sums_ref;
  gradients(rectify_gradient, sums, dy.data(), asks ? dx.data() : nullptr);
  gradients(reference::rectify_gradient, sums_ref, dy.data(), asks ? dx_ref.data() : nullptr);
  EXPECT_EQ(dx, dx_ref);
  // f32 sums of at most 128 terms below 8.
  for (std::size_t i = 0; i < sums.size(); ++i) EXPECT_NEAR(sums[i], sums_ref[i], 5e-4) << i;
  if (!asks) return;
  std::vector<float> in_place = dy, again;
  gradients(rectify_gradient, again, in_place.data(), in_place.data());
  EXPECT_EQ(in_place, dx);
  EXPECT_EQ(again, sums);
}

TEST(Rectifier, MatchesItsReferenceOnEveryTarget) {
  const int targets = for_each_highway_target([] {
    for (const Case& of : kCases) {
      SCOPED_TRACE(testing::Message() << of.rows << "x" << of.channels);
      for (const bool shifts : {false, true}) {
        for (const bool asks : {false, true}) expect_match(of, shifts, asks);
      }
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
  rectify_gradient(x, size, numbers, dy, {&dslope, &dthreshold, &doffset}, dx, scratch.data());
  EXPECT_EQ(std::vector<float>(dx, dx + 3), (std::vector<float>{4.0F, 3.0F, 4.0F}));
  EXPECT_EQ(dslope, -12.0F);      // 6 * -2
  EXPECT_EQ(dthreshold, -11.0F);  // -(4 + 3 + 4)
  EXPECT_EQ(doffset, 18.0F);
}

}  // namespace
}  // namespace bitloom::kernels
