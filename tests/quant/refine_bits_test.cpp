#include "bitloom/quant/refine_bits.h"

#include <gtest/gtest.h>

#include "bitloom/quant/choose_bits.h"
#include "probed_network.h"

namespace bitloom::quant {
namespace {

// Weights of 2 .. 5 bits to choose, everything else held at 8.
class RefineBits : public testing::Test {
 protected:
  RefineBits() : setup_(kResidual, {.method = "ptq-static", .first_last_bits = 0, .max_bits = 5}) {
    const QuantizeTarget target{integer::profile_named("int8"), true};
    problem_ = allocation_problem(probe_, nullptr, setup_.graph, setup_.options, target);
    for (AllocationItem& item : problem_.items) {
      item.noise = {};  // not read
      if (!item.is_weight) {
        item.min_bits = item.max_bits = 8;
        item.cost_per_bit = 0.0;
      }
      bits_.push_back(item.is_weight ? 3 : 8);
    }
  }
  double db(const std::vector<int>& bits) {
    return measured_db(probe_, step_bits(probe_, problem_, bits));
  }
  double divergence(const std::vector<int>& bits) {
    const std::vector<StepBits> one{step_bits(probe_, problem_, bits)};
    return probe_.measure(one).front().divergence;
  }
  // Calls use(bits) for all widths of the weights.
  template <typename Use>
  void for_all_widths(const Use& use) {
    std::vector<int> bits = bits_;
    for (std::size_t i = 0; i < bits.size(); ++i) bits[i] = problem_.items[i].min_bits;
    while (true) {
      use(bits);
      std::size_t i = 0;
      while (i < bits.size() && bits[i] == problem_.items[i].max_bits) {
        bits[i] = problem_.items[i].min_bits;
        ++i;
      }
      if (i == bits.size()) return;
      ++bits[i];
    }
  }

  Probed setup_;
  NoiseProbe probe_ = setup_.probe();
  AllocationProblem problem_;
  std::vector<int> bits_;  // equal ones
};

// Beside all 1,024 ways to choose: within 3 dB of the best for the price of equal widths (moves of
// single bits end where none is better).
TEST_F(RefineBits, ComesNearTheBestForThePrice) {
  const double price = problem_.cost(bits_);
  const std::vector<int> found = refine_bits(problem_, probe_, {.most_cost = price}, bits_);
  EXPECT_LE(problem_.cost(found), price * (1.0 + 1e-9));
  int ways = 0;
  double least = divergence(bits_);
  for_all_widths([&](const std::vector<int>& bits) {
    ++ways;
    if (problem_.cost(bits) <= price * (1.0 + 1e-9)) least = std::min(least, divergence(bits));
  });
  EXPECT_EQ(ways, 1024);
  EXPECT_LT(divergence(found), 0.9 * divergence(bits_));
  EXPECT_LE(divergence(found), 2.0 * least) << divergence(found) / least;
}

TEST_F(RefineBits, KeepsTheMeasuredGoal) {
  const double wanted = db(bits_);
  const std::vector<int> found = refine_bits(problem_, probe_, {.least_sqnr_db = wanted}, bits_);
  EXPECT_GE(db(found), wanted - 1e-9);
  EXPECT_LE(problem_.cost(found), problem_.cost(bits_) * (1.0 + 1e-9));
}

TEST_F(RefineBits, MovesNothingThatIsHeld) {
  problem_.items[1].min_bits = problem_.items[1].max_bits = bits_[1];
  const std::vector<int> found =
      refine_bits(problem_, probe_, {.most_cost = problem_.cost(bits_)}, bits_);
  EXPECT_EQ(found[1], bits_[1]);
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_GE(found[i], problem_.items[i].min_bits);
    EXPECT_LE(found[i], problem_.items[i].max_bits);
  }
}

TEST_F(RefineBits, LeavesTheWidestWidths) {
  for (std::size_t i = 0; i < bits_.size(); ++i) bits_[i] = problem_.items[i].max_bits;
  EXPECT_EQ(refine_bits(problem_, probe_, {.most_cost = 2.0 * problem_.cost(bits_)}, bits_), bits_);
}

}  // namespace
}  // namespace bitloom::quant
