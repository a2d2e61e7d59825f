// Mean, variance and ranges of channels against their plain reference on every CPU target.
#include "bitloom/kernels/channel_statistics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "bitloom/core/random.h"
#include "support/highway_targets.h"

namespace bitloom::kernels {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

std::vector<float> normals(std::int64_t count, float deviation, std::uint64_t stream) {
  const RandomStream random(3, stream);
  std::vector<float> values(static_cast<std::size_t>(count));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = deviation * random.normal(i);
  return values;
}

struct StatisticsCase {
  std::int64_t rows;
  std::int64_t channels;
  float mean;
  float deviation;
};

TEST(ChannelStatistics, MatchTheirReferenceOnEveryTarget) {
  // A mean of ten thousand deviations, where sums of squares cancel to nothing in f32.
  const StatisticsCase shapes[] = {{1, 3, 1.0F, 2.0F},      {129, 1, -3.0F, 0.1F},
                                   {700, 16, 0.0F, 1.0F},   {700, 24, 1e4F, 1.0F},
                                   {1000, 65, 5.0F, 1e-3F}, {257, 63, 1e-3F, 1e3F}};
  int checked = 0;
  for_each_highway_target([&] {
    for (const StatisticsCase& shape : shapes) {
      for (const int pieces : {1, 3}) {
        if (pieces > shape.rows) continue;
        SCOPED_TRACE(testing::Message() << shape.rows << "x" << shape.channels << "/" << pieces);
        std::vector<float> x = normals(shape.rows * shape.channels, shape.deviation, 9);
        for (float& value : x) value += shape.mean;
        x[0] = shape.mean + 50.0F * shape.deviation;  // far from what the others sum up to
        const ChannelRows size{shape.rows, shape.channels, pieces};
        const auto channels = static_cast<std::size_t>(shape.channels);
        std::vector<float> mean(channels), variance(channels), mean_ref(channels),
            variance_ref(channels);
        std::vector<MinMax> ranges(channels), ranges_ref(channels);
        std::vector<double> scratch(channel_scratch_bytes(size) / sizeof(double));
        channel_statistics({x.data()}, size, mean.data(), variance.data(), ranges.data(),
                           reinterpret_cast<std::byte*>(scratch.data()));
        reference::channel_statistics({x.data()}, size, mean_ref.data(), variance_ref.data(),
                                      ranges_ref.data(), nullptr);
        for (std::size_t c = 0; c < channels; ++c) {
          EXPECT_NEAR(mean[c], mean_ref[c],
                      1e-6F * shape.deviation + 1e-7F * std::abs(mean_ref[c]));
          EXPECT_NEAR(variance[c], variance_ref[c], 2e-6F * variance_ref[c]) << c;
          EXPECT_EQ(ranges[c].min, ranges_ref[c].min);
          EXPECT_EQ(ranges[c].max, ranges_ref[c].max);
          ++checked;
        }
      }
    }
  });
  EXPECT_GT(checked, 300);
}

// Sums times their scale are the reals that they stand for, bit for bit.
TEST(ChannelStatistics, OfSumsAreThoseOfTheirReals) {
  for_each_highway_target([&] {
    for (const std::int64_t channels : {5, 64, 83}) {
      const ChannelRows size{700, channels, 3};
      const std::vector<float> scale = normals(channels, 0.02F, 1);
      std::vector<float> reals = normals(size.rows * channels, 60.0F, 2);
      std::vector<Bf16> sums(reals.size());
      for (std::size_t i = 0; i < reals.size(); ++i) {
        sums[i] = round_to_bf16(std::nearbyint(reals[i]));
        reals[i] = to_float(sums[i]) * scale[i % scale.size()];
      }
      std::vector<double> scratch(channel_scratch_bytes(size) / sizeof(double));
      const auto run = [&](const ChannelValues& x) {
        std::vector<float> found(static_cast<std::size_t>(4 * channels));
        std::vector<MinMax> ranges(static_cast<std::size_t>(channels));
        channel_statistics(x, size, found.data(), found.data() + channels, ranges.data(),
                           reinterpret_cast<std::byte*>(scratch.data()));
        std::memcpy(found.data() + 2 * channels, ranges.data(), ranges.size() * sizeof(MinMax));
        return found;
      };
      EXPECT_EQ(run({sums.data(), DType::kBf16, scale.data()}), run({reals.data()}));
    }
  });
}

TEST(ChannelStatistics, ShowValuesThatAreNotFinite) {
  for (const float bad : {kInfinity, std::nanf("")}) {
    std::vector<float> x = normals(300 * 5, 1.0F, 9);
    x[200 * 5 + 2] = bad;
    const ChannelRows size{300, 5, 2};
    std::vector<float> mean(5), variance(5);
    std::vector<double> scratch(channel_scratch_bytes(size) / sizeof(double));
    channel_statistics({x.data()}, size, mean.data(), variance.data(), nullptr,
                       reinterpret_cast<std::byte*>(scratch.data()));
    EXPECT_TRUE(std::isnan(variance[2])) << bad;
    EXPECT_TRUE(std::isfinite(mean[1]) && std::isfinite(variance[1]));
  }
}

}  // namespace
}  // namespace bitloom::kernels
