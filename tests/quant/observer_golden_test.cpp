// Observers against PyTorch, NVIDIA ModelOpt and Brevitas: tools/golden/observers.py.
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/io/hdf5_archive.h"
#include "bitloom/quant/observer.h"

namespace bitloom::quant {
namespace {

const std::vector<std::string> kActivations{"relu", "signed"};

Archive golden() { return io::load_archive(BITLOOM_SOURCE_DIR "/tests/golden/observers.h5"); }

float value(const Archive& archive, const std::string& path, std::int64_t index = 0) {
  return archive.tensor(path).data<float>()[index];
}

// Both passes over the four batches of a case.
ActivationObserver watched(const Archive& archive, const std::string& name,
                           const ObserverOptions& options) {
  const Tensor& x = archive.tensor(cat(name, "/x"));
  const auto size = static_cast<std::size_t>(x.shape()[1]);
  ActivationObserver observer(options);
  for (const bool first : {true, false}) {
    for (std::int64_t batch = 0; batch < x.shape()[0]; ++batch) {
      const auto values = x.span<float>().subspan(static_cast<std::size_t>(batch) * size, size);
      if (first) {
        observer.see_range(
            kernels::min_max(values.data(), static_cast<std::int64_t>(values.size())));
      } else if (observer.needs_values()) {
        observer.see_values(values);
      }
    }
  }
  return observer;
}

integer::AffineFormat format_for(const std::string& name, int bits) {
  const bool is_signed = name == "signed";
  return {bits, is_signed, 0, integer::activation_range(bits, is_signed)};
}

// Torch blends in f32, in another order: one part in 2^22 a batch.
TEST(ObserverGolden, RangesAndAsymmetricGridsEqualTorch) {
  const Archive archive = golden();
  for (const std::string& name : kActivations) {
    for (const auto& [word, kind] :
         {std::pair("minmax", ObserverKind::kMinMax), std::pair("ema", ObserverKind::kEma)}) {
      const std::string place = cat(name, "/", word);
      SCOPED_TRACE(place);
      const kernels::MinMax range =
          watched(archive, name, {.kind = kind, .decay = 0.9}).chosen_range(format_for(name, 8));
      const float most = value(archive, place + "_range", 1);
      EXPECT_NEAR(range.min, value(archive, place + "_range", 0), 1e-6F * most);
      EXPECT_NEAR(range.max, most, 1e-6F * most);
      const AsymmetricGrid grid = asymmetric_grid(range, {0, 255});
      EXPECT_NEAR(grid.scale, value(archive, place + "_scale"), 1e-6F * grid.scale);
      EXPECT_EQ(static_cast<float>(grid.zero_point), value(archive, place + "_zero_point"));
    }
  }
}

TEST(ObserverGolden, PerChannelScalesEqualTorch) {
  const Archive archive = golden();
  const Tensor& weight = archive.tensor("weight/w");
  const integer::AffineFormat format{8, true, 0, {-127, 127}};
  for (std::int64_t row = 0; row < weight.shape()[0]; ++row) {
    const auto values = weight.span<float>().subspan(static_cast<std::size_t>(row * 60), 60);
    EXPECT_FLOAT_EQ(weight_scale(values, format, {.kind = ObserverKind::kMinMax}),
                    value(archive, "weight/minmax_scale", row));
    // torch.quantile interpolates in f32.
    const float expected = value(archive, "weight/percentile_95", row);
    EXPECT_NEAR(percentile_magnitude(values, 95.0), expected, 1e-6F * expected);
  }
}

// ModelOpt names the lower edge of the bin in which the percentile lies; ours is its upper edge, so
// that at least that share does not clip.
TEST(ObserverGolden, PercentilesAreOneBinAboveModelOpts) {
  const Archive archive = golden();
  for (const std::string& name : kActivations) {
    for (const double percentile : {98.765, 99.91}) {
      SCOPED_TRACE(cat(name, " ", percentile));
      const ActivationObserver observer =
          watched(archive, name, {.kind = ObserverKind::kPercentile, .percentile = percentile});
      const kernels::MinMax range = observer.range();
      const float width = std::max(range.max, -range.min) / Histogram::kMagnitudeBins;
      const std::string path = cat(name, "/percentile_", percentile);
      EXPECT_NEAR(observer.chosen_range(format_for(name, 8)).max, value(archive, path) + width,
                  0.01F * width);
    }
  }
}

// The same bin, so the same edge to f32's rounding.
TEST(ObserverGolden, KlThresholdsEqualModelOpts) {
  const Archive archive = golden();
  for (const std::string& name : kActivations) {
    for (const int bits : {8, 4}) {
      SCOPED_TRACE(cat(name, " ", bits));
      const ActivationObserver observer = watched(archive, name, {.kind = ObserverKind::kKl});
      const kernels::MinMax range = observer.chosen_range(format_for(name, bits));
      const float expected = value(archive, cat(name, "/kl_", bits));
      EXPECT_NEAR(std::max(range.max, -range.min), expected, 1e-5F * expected);
    }
  }
}

double squared_error(const Tensor& x, float scale, const integer::AffineFormat& format) {
  double sum = 0.0;
  for (const float real : x.span<float>()) {
    const std::int32_t code = integer::quantize(real, 1.0F / scale, format);
    const double error =
        static_cast<double>(real) - integer::dequantize(code, scale, format.zero_point);
    sum += error * error;
  }
  return sum;
}

// Torch searches both ends of the range by bins; we search the scale alone. Ours may lose 2 %.
TEST(ObserverGolden, MseReachesTheErrorOfTorchsHistogramObserver) {
  const Archive archive = golden();
  for (const std::string& name : kActivations) {
    for (const int bits : {8, 4}) {
      SCOPED_TRACE(cat(name, " ", bits));
      const Tensor& x = archive.tensor(cat(name, "/x"));
      integer::AffineFormat theirs{bits, false, 0, integer::activation_range(bits, false)};
      const std::string place = cat(name, "/histogram_", bits);
      theirs.zero_point = static_cast<std::int32_t>(value(archive, place + "_zero_point"));
      integer::AffineFormat ours = theirs;
      const AsymmetricGrid grid =
          watched(archive, name, {.kind = ObserverKind::kMse}).grid(ours, true);
      ours.zero_point = grid.zero_point;
      EXPECT_LE(squared_error(x, grid.scale, ours),
                1.02 * squared_error(x, value(archive, place + "_scale"), theirs));
    }
  }
}

TEST(ObserverGolden, PowersOfTwoEqualBrevitas) {
  const Archive archive = golden();
  const Tensor& scales = archive.tensor("power_of_two/scale");
  ASSERT_EQ(scales.elements(), 69);
  for (std::int64_t i = 0; i < scales.elements(); ++i) {
    EXPECT_EQ(power_of_two_scale(scales.data<float>()[i]),
              value(archive, "power_of_two/rounded", i));
  }
}

}  // namespace
}  // namespace bitloom::quant
