#include "bitloom/quant/step_size.h"

#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "bitloom/quant/observer.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

constexpr std::array<Density, 4> kDensities{Density::kUniform, Density::kGaussian,
                                            Density::kLaplacian, Density::kGamma};

// Sayood, table 9.3 (4 digits; its dB have two), rows of 2, 4, 8, 16 and 32 levels.
TEST(StepSize, AgreesWithTheTextbook) {
  const std::array<StepSize, 5> gaussian{
      {{1.596, 4.40}, {0.9957, 9.24}, {0.5860, 14.27}, {0.3352, 19.36}, {0.1881, 24.56}}};
  const std::array<StepSize, 3> laplacian{{{1.414, 3.00}, {1.0873, 7.05}, {0.7309, 11.39}}};
  for (int bits = 1; bits <= 5; ++bits) {
    const StepSize found = optimal_step(Density::kGaussian, mid_rise_grid(bits));
    const StepSize& wanted = gaussian.at(static_cast<std::size_t>(bits - 1));
    EXPECT_NEAR(found.step, wanted.step, bits == 1 ? 5e-4 : 5e-5) << bits;
    EXPECT_NEAR(found.sqnr_db, wanted.sqnr_db, 0.03) << bits;
  }
  for (int bits = 1; bits <= 3; ++bits) {
    const StepSize found = optimal_step(Density::kLaplacian, mid_rise_grid(bits));
    const StepSize& wanted = laplacian.at(static_cast<std::size_t>(bits - 1));
    EXPECT_NEAR(found.step, wanted.step, bits == 1 ? 5e-4 : 1e-4) << bits;
    EXPECT_NEAR(found.sqnr_db, wanted.sqnr_db, 0.06) << bits;
  }
}

// The whole table, 1 to 10 bits, found by minimising the error directly with another program.
TEST(StepSize, AgreesWithDirectMinimisation) {
  const std::array<std::array<StepSize, 4>, 10> table{{
      {{{1.7321, 6.02}, {1.5958, 4.40}, {1.4142, 3.01}, {1.1547, 1.76}}},
      {{{.8660, 12.04}, {.9957, 9.25}, {1.0874, 7.07}, {1.0660, 4.95}}},
      {{{.4330, 18.06}, {.5860, 14.27}, {.7309, 11.44}, {.7957, 8.78}}},
      {{{.2165, 24.08}, {.3352, 19.38}, {.4610, 15.96}, {.5400, 13.00}}},
      {{{.1083, 30.10}, {.1881, 24.57}, {.2800, 20.60}, {.3459, 17.49}}},
      {{{.0541, 36.12}, {.1041, 29.83}, {.1657, 25.36}, {.2130, 22.17}}},
      {{{.0271, 42.14}, {.0569, 35.17}, {.0961, 30.23}, {.1273, 27.00}}},
      {{{.0135, 48.16}, {.0308, 40.57}, {.0548, 35.21}, {.0744, 31.95}}},
      {{{.0068, 54.19}, {.0165, 46.03}, {.0309, 40.28}, {.0426, 37.01}}},
      {{{.0034, 60.21}, {.0088, 51.55}, {.0172, 45.44}, {.0241, 42.14}}},
  }};
  for (std::size_t row = 0; row < table.size(); ++row) {
    for (std::size_t i = 0; i < kDensities.size(); ++i) {
      const StepSize found =
          optimal_step(kDensities.at(i), mid_rise_grid(static_cast<int>(row) + 1));
      EXPECT_NEAR(found.step, table.at(row).at(i).step, 6e-5) << row + 1 << " bits, density " << i;
      EXPECT_NEAR(found.sqnr_db, table.at(row).at(i).sqnr_db, 6e-3) << row + 1 << " bits, " << i;
    }
  }
}

// {-0.996, 0, 0.996, 1.992} keeps the mid-rise step and moves it by half; the best step for those
// four levels is another one, and loses less.
TEST(StepSize, TheGridWithALevelAtZeroHasItsOwnStep) {
  const LevelGrid grid = zero_level_grid(2);
  EXPECT_EQ(grid.low, -1);
  EXPECT_EQ(grid.high, 2);
  const double published = sqnr_db_of_step(Density::kGaussian, grid, 0.996);
  const StepSize best = optimal_step(Density::kGaussian, grid);
  EXPECT_GT(best.sqnr_db, published);
  EXPECT_LT(best.sqnr_db, optimal_step(Density::kGaussian, mid_rise_grid(2)).sqnr_db);
  for (const double near : {0.99, 1.01}) {
    EXPECT_LT(sqnr_db_of_step(Density::kGaussian, grid, best.step * near), best.sqnr_db);
  }
  // Ever less of a difference with more levels.
  const double step8 = optimal_step(Density::kGaussian, zero_level_grid(8)).step;
  EXPECT_NEAR(step8, optimal_step(Density::kGaussian, mid_rise_grid(8)).step, 3e-4);
}

TEST(StepSize, GridsOfFormatsKnowTheirZero) {
  const LevelGrid weights = level_grid({8, true, 0, {-127, 127}});
  EXPECT_EQ(weights.low, -127);
  EXPECT_FALSE(weights.one_sided);
  const LevelGrid behind_relu = level_grid({4, false, 0, {0, 15}});
  EXPECT_TRUE(behind_relu.one_sided);
  // 16 levels on one side are half of the 32 of both.
  const LevelGrid both{-15, 15};
  for (const Density density : kDensities) {
    EXPECT_NEAR(optimal_step(density, behind_relu).step, optimal_step(density, both).step, 1e-9);
  }
  EXPECT_EQ(level_grid({4, false, 8, {0, 15}}).low, -8);
}

TEST(StepSize, KappaIsPredictedAndMeasured) {
  EXPECT_NEAR(kappa_db_per_bit(Density::kUniform, 4, 8), 6.02, 0.005);
  EXPECT_NEAR(kappa_db_per_bit(Density::kGaussian, 4, 8), 5.30, 0.005);
  const std::array<int, 3> bits{4, 6, 8};
  const std::array<double, 3> measured{20.0, 30.5, 40.0};
  EXPECT_DOUBLE_EQ(measured_kappa_db_per_bit(bits, measured), 5.0);
}

// The density's step and the search on data meet, and so do their SQNRs.
TEST(StepSize, MeetsTheSearchOnData) {
  std::vector<float> values(20000);
  const RandomStream random(3, "gaussian");
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = 0.5F * random.normal(i);
  for (const int bits : {3, 5, 8}) {
    const integer::AffineFormat format{bits, true, 0, integer::weight_range(bits, false)};
    const StepSize predicted = optimal_step(Density::kGaussian, level_grid(format));
    const double searched = mse_scale(std::span<const float>(values), format);
    // 8 bits clip at 3.9 deviations, where 20,000 values have about two: the search hangs on them.
    EXPECT_NEAR(searched / (0.5 * predicted.step), 1.0, bits == 8 ? 0.08 : 0.04) << bits;
  }
}

TEST(StepSize, FindsTheDensityByItsMoments) {
  EXPECT_EQ(nearest_density(0.86, 1.0), Density::kUniform);
  EXPECT_EQ(nearest_density(1.6, 2.0), Density::kGaussian);
  EXPECT_EQ(nearest_density(0.7, 1.0), Density::kLaplacian);
  EXPECT_EQ(nearest_density(0.4, 1.0), Density::kGamma);
}

// 8 bits, deviation 0.25, gaussian: step 0.25 * 0.0308 = 0.0077, -log2 = 7.02.
TEST(StepSize, PlacesTheBinaryPoint) {
  const FixedPointFormat format = fixed_point_format("conv1", 0.25, Density::kGaussian, 8);
  EXPECT_EQ(format.fractional_bits, 7);
  EXPECT_EQ(format.name(), "Q0.7");
  EXPECT_DOUBLE_EQ(format.step(), 1.0 / 128.0);
  EXPECT_ERROR(NumericError, fixed_point_format("conv1", 0.0, Density::kGaussian, 8),
               "conv1: expected a finite spread above 0, found 0");
  EXPECT_THROW(fixed_point_format("conv1", std::nan(""), Density::kGaussian, 8), NumericError);
}

}  // namespace
}  // namespace bitloom::quant
