#include "bitloom/quant/sqnr.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/layers/network.h"
#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantized_layers.h"
#include "bitloom/quant/step_size.h"
#include "probed_network.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::ParameterStore;

// `depth` linear layers of `width` values; no activation function, so all noise passes on.
std::string chain_text(int depth, int width) {
  std::string text =
      cat("bitloom-graph 1\ninput = input(shape=", width, "x1x1)\nflat = flatten(input)\n");
  std::string source = "flat";
  for (int i = 1; i <= depth; ++i) {
    text += cat("fc", i, ".weight = parameter(shape=", width, "x", width, ")\n", "fc", i,
                " = linear(", source, ", fc", i, ".weight)\n");
    source = cat("fc", i);
  }
  return text;
}

TEST(NoiseProbe, KnowsEveryStepAndItsSources) {
  Probed setup(kResidual);
  const NoiseProbe probe = setup.probe();
  ASSERT_EQ(probe.steps().size(), 11U);  // 5 weights, input, 3 outputs, the downsample, the average
  std::size_t gap = 0;
  std::size_t down = 0;
  for (std::size_t i = 0; i < probe.steps().size(); ++i) {
    if (probe.steps()[i].node == "gap.q") gap = i;
    if (probe.steps()[i].node == "down.bn.q") down = i;
  }
  EXPECT_EQ(probe.steps()[gap].layer, "conv3");
  EXPECT_EQ(probe.steps()[gap].elements, 16);
  EXPECT_EQ(probe.sources(gap).size(), 10U);  // all but the weights of fc
  EXPECT_EQ(probe.sources(down).size(), 7U);  // conv3 is on the other branch
  EXPECT_EQ(probe.steps()[down].layer, "down");
}

// The taps compute what the graph of the passes computes, at every width that it has.
TEST(NoiseProbe, MeasuresWhatQuantizationMakes) {
  for (const bool asymmetric : {false, true}) {
    Probed setup(kResidual, {.method = "ptq-static", .asymmetric = asymmetric});
    NoiseProbe probe = setup.probe();
    for (const int bits : {3, 8}) {
      QuantOptions options = setup.options;
      options.weight_bits = options.activation_bits = bits;
      options.first_last_bits = 0;
      const std::vector<StepBits> all{probe.all_at(bits)};
      const double expected = setup.quantized_noise(options);
      EXPECT_NEAR(probe.measure(all).front().output / expected, 1.0, 1e-4) << bits;
    }
  }
}

TEST(NoiseProbe, OffMeansNoNoise) {
  Probed setup(kResidual);
  NoiseProbe probe = setup.probe();
  const std::vector<StepBits> none{probe.all_at(0)};
  const Noise noise = probe.measure(none).front();
  EXPECT_EQ(noise.output, 0.0);
  EXPECT_EQ(predict_plain_db(probe, none.front()), std::numeric_limits<double>::infinity());
  for (const double power : noise.at_step) EXPECT_EQ(power, 0.0);
}

// Twice the same noise is twice as high; what is independent would add its power.
TEST(NoiseProbe, SumsNoisesOfAssignments) {
  Probed setup(kResidual);
  NoiseProbe probe = setup.probe();
  const std::vector<StepBits> twice{probe.all_at(5), probe.all_at(5)};
  double of_sum = 0.0;
  const std::vector<Noise> noises = probe.measure(twice, &of_sum);
  EXPECT_GT(of_sum, 0.0);
  EXPECT_NEAR(of_sum, 4.0 * noises[0].output, 1e-6 * of_sum);
  const double coherence = measure_gains(probe, probe.all_at(8)).coherence;
  EXPECT_GT(coherence, 0.5);
  EXPECT_LT(coherence, 2.0);
}

// Widths 9 and 10 have no integer model; each bit more takes 5 to 6 dB of noise away.
TEST(NoiseProbe, GoesOnPastEightBits) {
  Probed setup(kResidual);
  NoiseProbe probe = setup.probe();
  for (const QuantizationStep& step : probe.steps()) {
    EXPECT_NEAR((step.sqnr_db(10) - step.sqnr_db(7)) / 3.0, 5.5, 1.5) << step.node;
  }
  EXPECT_NEAR(measured_db(probe, probe.all_at(10)) - measured_db(probe, probe.all_at(8)), 11.0,
              2.5);
}

TEST(NoiseProbe, RefinedPredictionFollowsMeasurement) {
  Probed setup(kResidual);
  NoiseProbe probe = setup.probe();
  const NoiseGains gains = measure_gains(probe, probe.all_at(8));
  for (int bits = 6; bits <= kWidestBits; ++bits) {
    const StepBits all = probe.all_at(bits);
    EXPECT_NEAR(predict_refined_db(probe, gains, all), measured_db(probe, all), 2.0) << bits;
  }
  // At the ends of the steps too, where residuals join.
  const StepBits all = probe.all_at(7);
  const std::vector<StepBits> one{all};
  const Noise noise = probe.measure(one).front();
  for (std::size_t i = 0; i < probe.steps().size(); ++i) {
    EXPECT_NEAR(predict_refined_db(probe, gains, all, i),
                to_db(probe.steps()[i].signal, noise.at_step[i]), 2.5)
        << probe.steps()[i].node;
  }
}

// Orthogonal weights of one magnitude, exact on every grid: each layer turns its input and keeps
// the power of signal and noise, so the plain rule holds, and twice the depth costs 3 dB.
TEST(NoiseProbe, DoubleDepthCostsThreeDecibels) {
  constexpr int kWidth = 32;
  double last_measured = 0.0;
  double last_predicted = 0.0;
  for (const int depth : {2, 4, 8}) {
    Probed setup(chain_text(depth, kWidth));
    for (int layer = 1; layer <= depth; ++layer) {
      const std::string name = cat("fc", layer, ".weight");
      const RandomStream signs(7, name);
      float* weight = setup.store.at(name).value.data<float>();
      for (unsigned o = 0; o < kWidth; ++o) {
        for (unsigned i = 0; i < kWidth; ++i) {
          const bool negative = (std::popcount(o & i) + (signs.bits(i) & 1U)) % 2 != 0;
          weight[o * kWidth + i] =
              (negative ? -1.0F : 1.0F) / std::sqrt(static_cast<float>(kWidth));
        }
      }
    }
    NoiseProbe probe = setup.probe();
    const StepBits all = probe.all_at(6);
    const double predicted = predict_plain_db(probe, all);
    const double measured = measured_db(probe, all);
    EXPECT_NEAR(predicted, measured, 0.6) << depth;
    if (depth > 2) {
      EXPECT_NEAR(last_predicted - predicted, 3.0, 0.4);
      EXPECT_NEAR(last_measured - measured, 3.0, 0.6);
    }
    last_measured = measured;
    last_predicted = predicted;
  }
}

// Gaussian weights: a step's SQNR is the density's, and kappa too.
TEST(NoiseProbe, StepsLoseWhatTheirDensityPredicts) {
  Probed setup(chain_text(2, 128), {.method = "ptq-static", .per_channel = false});
  const NoiseProbe probe = setup.probe();
  std::vector<int> widths;
  std::vector<double> measured;
  for (int bits = 4; bits <= 8; ++bits) {
    const integer::AffineFormat format{bits, true, 0, integer::weight_range(bits, false)};
    const double predicted = optimal_step(Density::kGaussian, level_grid(format)).sqnr_db;
    widths.push_back(bits);
    measured.push_back(probe.steps()[1].sqnr_db(bits));
    ASSERT_TRUE(probe.steps()[1].is_weight);
    EXPECT_NEAR(measured.back(), predicted, 0.4) << bits;
  }
  EXPECT_NEAR(measured_kappa_db_per_bit(widths, measured),
              kappa_db_per_bit(Density::kGaussian, 4, 8), 0.25);
}

TEST(NoiseProbe, NamesWhatHasNoSpread) {
  Probed dead(kResidual);
  for (float& weight : dead.store.at("down.weight").value.span<float>()) weight = 0.0F;
  dead.options.method = "ptq-weight-only";
  EXPECT_ERROR(NumericError, dead.probe(), "down.weight.q: expected finite values that are not");
  Probed nan(kResidual);
  nan.store.at("conv2.weight").value.span<float>()[0] = std::nanf("");
  EXPECT_THROW(nan.probe(), NumericError);
}

}  // namespace
}  // namespace bitloom::quant
