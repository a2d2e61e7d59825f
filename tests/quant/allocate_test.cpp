#include "bitloom/quant/allocate.h"

#include <gtest/gtest.h>

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/core/random.h"
#include "support/error_matchers.h"

namespace bitloom::quant {
namespace {

// noise = c 10^(-kappa bits / 10)
AllocationItem item(double cost, double c, double kappa = 6.0) {
  AllocationItem out{.layer = "layer", .is_weight = true, .elements = 1, .cost_per_bit = cost};
  for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) {
    out.noise.at(bits) = c * std::pow(10.0, -kappa * bits / 10.0);
  }
  return out;
}

// Items as networks have them: costs and noises over three decades, kappas of 4.5 to 6.
AllocationProblem random_problem(std::uint64_t seed, std::size_t count) {
  const RandomStream random(seed, "allocation");
  AllocationProblem problem;
  for (std::size_t i = 0; i < count; ++i) {
    problem.items.push_back(item(std::pow(10.0, -3.0F * random.uniform(3 * i)),
                                 std::pow(10.0, -3.0F * random.uniform(3 * i + 1)),
                                 4.5 + 1.5 * random.uniform(3 * i + 2)));
  }
  return problem;
}

// Equal noises at equal widths: bits_i - bits_j = (10 / kappa) log10(rho_j / rho_i), whatever the
// target, as long as no limit cuts.
TEST(Allocate, ClosedFormFollowsTheRatioOfCosts) {
  AllocationProblem problem;
  for (const double cost : {1.0, 10.0, 3.0}) problem.items.push_back(item(cost, 1.0, 5.0));
  for (const double target : {20.0, 25.0}) {
    const std::vector<double> bits = closed_form_bits(problem, {.least_sqnr_db = target});
    EXPECT_NEAR(bits[0] - bits[1], 2.0 * std::log10(10.0), 1e-6);
    EXPECT_NEAR(bits[0] - bits[2], 2.0 * std::log10(3.0), 1e-6);
    double noise = 0.0;
    for (const double width : bits) noise += std::pow(10.0, -0.5 * width);
    EXPECT_NEAR(-10.0 * std::log10(noise), target, 1e-6);  // met with equality
  }
  const std::vector<double> bits = closed_form_bits(problem, {.most_cost = 70.0});
  EXPECT_NEAR(bits[0] + 10.0 * bits[1] + 3.0 * bits[2], 70.0, 1e-6);
  EXPECT_NEAR(bits[0] - bits[1], 2.0, 1e-6);
}

TEST(Allocate, MeetsItsGoalWithinTheLimits) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    AllocationProblem problem = random_problem(seed, 24);
    problem.items[3].min_bits = problem.items[3].max_bits = 8;
    problem.items[5].max_bits = 5;
    const Allocation quality = allocate(problem, {.least_sqnr_db = 18.0});
    EXPECT_GE(quality.sqnr_db, 18.0);
    EXPECT_EQ(quality.bits[3], 8);
    EXPECT_LE(quality.bits[5], 5);
    EXPECT_EQ(quality.real_bits.size(), quality.bits.size());
    const Allocation price = allocate(problem, {.most_cost = quality.cost});
    EXPECT_LE(price.cost, quality.cost * (1.0 + 1e-9));
    EXPECT_GE(price.sqnr_db, quality.sqnr_db - 0.25);  // as good for the same price
  }
}

// What rounding leaves is looked for until nothing is left.
TEST(Allocate, FindsTheBestOfAllWidths) {
  for (std::uint64_t seed = 1; seed <= 12; ++seed) {
    const AllocationProblem problem = random_problem(seed, 6);
    const AllocationGoal quality{.least_sqnr_db = 22.0};
    const double found = allocate(problem, quality).cost;
    const double optimum = allocate_exhaustively(problem, quality).cost;
    EXPECT_NEAR(found, optimum, 1e-8 * optimum) << seed;
    const AllocationGoal price{.most_cost = 1.05 * optimum};
    EXPECT_NEAR(allocate(problem, price).sqnr_db, allocate_exhaustively(problem, price).sqnr_db,
                1e-7)
        << seed;
  }
}

// As many items as resnet20 has: what the bound does not reach in its time is small beside the best
// real widths, which no whole ones can beat.
TEST(Allocate, IsNearTheBestRealWidthsOfManyItems) {
  for (std::uint64_t seed = 1; seed <= 4; ++seed) {
    const AllocationProblem problem = random_problem(seed, 45);
    const AllocationGoal goal{.least_sqnr_db = 15.0};
    double real_cost = 0.0;
    const std::vector<double> real = closed_form_bits(problem, goal);
    for (std::size_t i = 0; i < real.size(); ++i) {
      real_cost += problem.items[i].cost_per_bit * real[i];
    }
    EXPECT_LE(allocate(problem, goal).cost, 1.04 * real_cost) << seed;
  }
}

// The point of it: one layer has nine tenths of the weights.
TEST(Allocate, SavesAgainstEqualWidthsAtEqualNoise) {
  AllocationProblem problem;
  for (const double cost : {0.01, 0.03, 0.06}) problem.items.push_back(item(cost, 0.1));
  problem.items.push_back(item(0.9, 0.05));
  const std::vector<int> equal(4, 5);
  const Allocation mixed = allocate(problem, {.least_sqnr_db = problem.sqnr_db(equal)});
  EXPECT_LT(mixed.cost, 0.9 * problem.cost(equal));
  EXPECT_GE(mixed.sqnr_db, problem.sqnr_db(equal));
  const Allocation greedy = allocate_greedily(problem, {.least_sqnr_db = problem.sqnr_db(equal)});
  EXPECT_GE(greedy.sqnr_db, problem.sqnr_db(equal));
  EXPECT_LE(mixed.cost, greedy.cost + 1e-12);
}

// Two layers: weights 0 and 2 multiply activations 1 and 3; the first has most of the products.
TEST(Allocate, TakesProductsOfWidthsForCost) {
  AllocationProblem problem;
  for (int i = 0; i < 4; ++i) problem.items.push_back(item(0.0, 1.0));
  problem.products = {{0, 1, 0.9}, {2, 3, 0.1}};
  const std::vector<int> equal(4, 6);
  EXPECT_DOUBLE_EQ(problem.cost(equal), 36.0);
  const AllocationGoal goal{.most_cost = 16.0};
  const std::vector<double> real = closed_form_bits(problem, goal);
  EXPECT_NEAR(0.9 * real[0] * real[1] + 0.1 * real[2] * real[3], 16.0, 0.02);
  EXPECT_LT(real[0], real[2]);
  const Allocation found = allocate(problem, goal);
  EXPECT_LE(found.cost, 16.0);
  EXPECT_GE(found.sqnr_db, allocate_exhaustively(problem, goal).sqnr_db - 0.05);
}

TEST(Allocate, NamesGoalsThatContradictTheLimits) {
  AllocationProblem problem = random_problem(1, 5);
  for (AllocationItem& each : problem.items) each.min_bits = 4;
  EXPECT_ERROR(ConfigError, allocate(problem, {.least_sqnr_db = 200.0}),
               "target SQNR: expected at most", "found 200 dB");
  EXPECT_ERROR(ConfigError, allocate(problem, {.most_cost = 1e-3}),
               "target size: expected at least", "found 0.001");
  EXPECT_ERROR(ConfigError, allocate_greedily(problem, {.most_cost = 1e-3}), "target size");
  problem.items[2].noise.at(5) = std::nan("");
  EXPECT_THROW(allocate(problem, {.least_sqnr_db = 10.0}), NumericError);
  EXPECT_ERROR(ConfigError, allocate_exhaustively(random_problem(1, 12), {.least_sqnr_db = 5.0}),
               "exhaustive search");
}

}  // namespace
}  // namespace bitloom::quant
