#include "bitloom/quant/allocate.h"

#include <cmath>
#include <limits>
#include <utility>

#include "bitloom/core/error.h"
#include "exact_widths.h"
#include "width_search.h"

namespace bitloom::quant {
namespace {

using Bits = std::vector<int>;

constexpr std::int64_t kMostNodes = 300'000;  // of branch and bound: some milliseconds

void require_finite(const AllocationProblem& problem) {
  for (const AllocationItem& item : problem.items) {
    for (int bits = item.min_bits; bits <= item.max_bits; ++bits) {
      if (std::isfinite(item.noise.at(bits)) && item.noise.at(bits) >= 0.0) continue;
      throw NumericError(ErrorText{item.layer, "a finite noise",
                                   cat(item.noise.at(bits), " at ", bits, " bits"),
                                   "look at the checkpoint with `bitloom inspect`"});
    }
  }
}

Bits ends(const AllocationProblem& problem, bool widest) {
  Bits bits;
  for (const AllocationItem& item : problem.items) {
    bits.push_back(widest ? item.max_bits : item.min_bits);
  }
  return bits;
}

bool meets(const AllocationProblem& problem, const AllocationGoal& goal, const Bits& bits) {
  if (goal.least_sqnr_db) return problem.noise(bits) <= most_noise(goal);
  return problem.cost(bits) <= *goal.most_cost * (1.0 + kSlack);
}

// What is made small.
double objective(const AllocationProblem& problem, const AllocationGoal& goal, const Bits& bits) {
  return goal.least_sqnr_db ? problem.cost(bits) : problem.noise(bits);
}

void require_reachable(const AllocationProblem& problem, const AllocationGoal& goal) {
  BITLOOM_ASSERT(goal.least_sqnr_db.has_value() != goal.most_cost.has_value());
  require_finite(problem);
  const Bits best = ends(problem, goal.least_sqnr_db.has_value());
  if (meets(problem, goal, best)) return;
  if (goal.least_sqnr_db) {
    throw ConfigError(ErrorText{
        "target SQNR", cat("at most ", problem.sqnr_db(best), " dB, what the widest widths give"),
        cat(*goal.least_sqnr_db, " dB"), "lower the target, or raise quant.max_bits"});
  }
  throw ConfigError(ErrorText{"target size",
                              cat("at least ", problem.cost(best), ", what the least widths cost"),
                              cat(*goal.most_cost), "raise the target, or lower quant.min_bits"});
}

Allocation finished(const AllocationProblem& problem, Bits bits) {
  Allocation allocation;
  allocation.cost = problem.cost(bits);
  allocation.sqnr_db = problem.sqnr_db(bits);
  allocation.bits = std::move(bits);
  return allocation;
}

}  // namespace

double AllocationProblem::cost(const std::vector<int>& bits) const {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) sum += items[i].cost_per_bit * bits[i];
  for (const CostProduct& product : products) {
    sum += product.macs * bits[product.weight] * bits[product.source];
  }
  return sum;
}

double AllocationProblem::noise(const std::vector<int>& bits) const {
  double sum = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) sum += items[i].noise.at(bits[i]);
  return sum;
}

Allocation allocate(const AllocationProblem& problem, const AllocationGoal& goal) {
  require_reachable(problem, goal);
  const std::vector<double> real = closed_form_bits(problem, goal);
  Bits rounded;
  for (const double width : real) rounded.push_back(static_cast<int>(std::lround(width)));
  Widths widths(problem, goal, std::move(rounded));
  repair(widths);
  spend(widths);
  improve(widths);
  Allocation allocation = finished(problem, exact_bits(problem, goal, widths.bits(), kMostNodes));
  allocation.real_bits = real;
  return allocation;
}

Allocation allocate_greedily(const AllocationProblem& problem, const AllocationGoal& goal) {
  require_reachable(problem, goal);
  Widths widths(problem, goal, ends(problem, true));
  repair(widths);                         // down to the price
  if (goal.least_sqnr_db) spend(widths);  // down while the noise allows
  return finished(problem, widths.bits());
}

Allocation allocate_exhaustively(const AllocationProblem& problem, const AllocationGoal& goal) {
  constexpr double kMost = 1e8;
  require_reachable(problem, goal);
  double count = 1.0;
  for (const AllocationItem& item : problem.items) count *= item.max_bits - item.min_bits + 1;
  if (count > kMost) {
    throw ConfigError(ErrorText{"exhaustive search", "at most 1e8 combinations of widths",
                                cat(count), "hold layers fixed, or narrow the limits"});
  }
  Bits bits = ends(problem, false);
  Bits best;
  double least = std::numeric_limits<double>::infinity();
  while (true) {
    const double here = objective(problem, goal, bits);
    if (here < least && meets(problem, goal, bits)) {
      least = here;
      best = bits;
    }
    std::size_t i = 0;
    while (i < bits.size() && bits[i] == problem.items[i].max_bits) {
      bits[i] = problem.items[i].min_bits;
      ++i;
    }
    if (i == bits.size()) return finished(problem, std::move(best));
    ++bits[i];
  }
}

AllocationProblem only(const AllocationProblem& problem, bool weights) {
  AllocationProblem part;
  for (const AllocationItem& item : problem.items) {
    if (item.is_weight == weights) part.items.push_back(item);
  }
  return part;
}

double average_bits(const AllocationProblem& problem, const std::vector<int>& bits, bool weights) {
  double sum = 0.0;
  double elements = 0.0;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (problem.items[i].is_weight != weights) continue;
    const auto count = static_cast<double>(problem.items[i].elements);
    sum += count * bits[i];
    elements += count;
  }
  return elements > 0.0 ? sum / elements : 32.0;
}

}  // namespace bitloom::quant
