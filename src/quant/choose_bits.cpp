#include "bitloom/quant/choose_bits.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/quant/refine_bits.h"

namespace bitloom::quant {
namespace {

constexpr double kRealBits = 32.0;
constexpr double kWidestProducts = 64.0;  // 8 x 8 bits

Allocation solve(const AllocationProblem& problem, const AllocationGoal& goal,
                 AllocationMethod method) {
  switch (method) {
    case AllocationMethod::kClosedForm:
      return allocate(problem, goal);
    case AllocationMethod::kGreedy:
      return allocate_greedily(problem, goal);
    case AllocationMethod::kExhaustive:
      break;
  }
  return allocate_exhaustively(problem, goal);
}

// The share of `full` that a key grants, at least what the least widths cost.
double budget_of(const char* key, double ratio, double full, const AllocationProblem& problem) {
  std::vector<int> least;
  for (const AllocationItem& item : problem.items) least.push_back(item.min_bits);
  const double reachable = problem.cost(least) / full;
  if (ratio >= reachable) return ratio * full;
  throw ConfigError(ErrorText{key, cat("at least ", reachable, ", what the least widths leave"),
                              cat(ratio), "raise it, lower quant.min_bits, or hold fewer layers"});
}

// Items of one kind to choose, the others as they are and free of charge.
AllocationProblem choosing(const AllocationProblem& problem, const std::vector<int>& bits,
                           bool weights) {
  AllocationProblem part = problem;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    AllocationItem& item = part.items[i];
    if (item.is_weight == weights) continue;
    item.min_bits = item.max_bits = bits[i];
    item.cost_per_bit = 0.0;
  }
  return part;
}

bool measures_in_company(const QuantOptions& options, AllocationMethod method) {
  return options.noise_rule == "measured" && method == AllocationMethod::kClosedForm;
}

// Weights by their size, activations by the width that equal ones have, each on its own.
Allocation within_size(const AllocationProblem& sizes, NoiseProbe& probe,
                       const std::vector<int>& equal, const QuantOptions& options,
                       AllocationMethod method) {
  const auto budget = [&](const AllocationProblem& part, bool weights) {
    if (!weights) return average_bits(sizes, equal, false);
    return options.target_size_of_equal > 0.0
               ? budget_of("quant.target_size_of_equal", options.target_size_of_equal,
                           average_bits(sizes, equal, true), part)
               : budget_of("quant.target_size_ratio", options.target_size_ratio, kRealBits, part);
  };
  Allocation whole;
  whole.bits.resize(sizes.items.size());
  whole.real_bits.resize(sizes.items.size());
  for (const bool weights : {true, false}) {
    const AllocationProblem part = only(sizes, weights);
    if (part.items.empty()) continue;
    const Allocation found = solve(part, {.most_cost = budget(part, weights)}, method);
    std::size_t next = 0;
    for (std::size_t i = 0; i < sizes.items.size(); ++i) {
      if (sizes.items[i].is_weight != weights) continue;
      whole.bits[i] = found.bits[next];
      whole.real_bits[i] = found.real_bits.empty() ? found.bits[next] : found.real_bits[next];
      ++next;
    }
  }
  if (!measures_in_company(options, method)) return whole;
  for (const bool weights : {true, false}) {
    const AllocationProblem part = only(sizes, weights);
    if (part.items.empty()) continue;
    whole.bits = refine_bits(choosing(sizes, whole.bits, weights), probe,
                             {.most_cost = budget(part, weights)}, whole.bits);
  }
  return whole;
}

double measured_db(NoiseProbe& probe, const AllocationProblem& problem,
                   const std::vector<int>& bits) {
  const std::vector<StepBits> one{step_bits(probe, problem, bits)};
  return to_db(probe.output_signal(), probe.measure(one).front().output);
}

// SQNR of the logits: what is wanted, and the prediction to begin with.
struct SqnrTarget {
  double wanted = 0.0;
  double predicted = 0.0;
};

// Predictions are too good at two and three bits, where noise is no longer independent of what it
// is added to: 10 dB predicted were 2 dB on resnet20. So the prediction that is asked for moves by
// what measurement lacks, until that has what is wanted.
Allocation at_sqnr(const AllocationProblem& sizes, NoiseProbe& probe, const SqnrTarget& target,
                   AllocationMethod method) {
  constexpr int kRounds = 16;
  constexpr double kClose = 0.1;    // dB above what is wanted that are good enough
  constexpr double kNarrow = 0.02;  // dB between a goal that fails and one that does not
  std::vector<int> widest;
  for (const AllocationItem& item : sizes.items) widest.push_back(item.max_bits);
  const double reach = sizes.sqnr_db(widest);
  double goal = std::min(target.predicted, reach);
  double fails = -std::numeric_limits<double>::infinity();
  double meets = std::numeric_limits<double>::infinity();
  std::optional<Allocation> best;
  for (int round = 0; round < kRounds && meets - fails > kNarrow; ++round) {
    Allocation found = solve(sizes, {.least_sqnr_db = goal}, method);
    const double measured = measured_db(probe, sizes, found.bits);
    if (measured >= target.wanted) {
      meets = goal;
      if (!best || found.cost < best->cost) best = std::move(found);
      if (measured <= target.wanted + kClose) break;
    } else {
      fails = goal;
      if (goal >= reach) {
        // Gains that were measured at narrow widths may call others as good as the widest.
        const double most = measured_db(probe, sizes, widest);
        if (most >= target.wanted) {
          best = std::move(found);
          best->bits = widest;
          break;
        }
        throw ConfigError(
            ErrorText{"target SQNR", cat("at most ", most, " dB, what the widest widths give"),
                      cat(target.wanted, " dB"), "lower the target, or raise quant.max_bits"});
      }
    }
    goal += target.wanted - measured;
    if (goal <= fails || goal >= meets) {
      goal = std::isinf(meets)   ? fails + 1.0
             : std::isinf(fails) ? meets - 1.0
                                 : 0.5 * (fails + meets);
    }
    goal = std::min(goal, reach);
  }
  return best ? *std::move(best) : solve(sizes, {.least_sqnr_db = reach}, method);
}

}  // namespace

Allocation choose_bits(const AllocationProblem& sizes, NoiseProbe& probe,
                       const std::vector<int>& equal, const QuantOptions& options,
                       AllocationMethod method) {
  Allocation found;
  const bool in_company = measures_in_company(options, method);
  if (options.target_bit_operations > 0.0) {
    AllocationProblem operations = sizes;
    count_bit_operations(operations, probe);
    const AllocationGoal goal{.most_cost = budget_of("quant.target_bit_operations",
                                                     options.target_bit_operations, kWidestProducts,
                                                     operations)};
    found = solve(operations, goal, method);
    if (in_company) found.bits = refine_bits(operations, probe, goal, found.bits);
  } else if (has_size_target(options)) {
    found = within_size(sizes, probe, equal, options, method);
  } else {
    const bool given = options.target_sqnr_db > 0.0;
    const double wanted = given ? options.target_sqnr_db : measured_db(probe, sizes, equal);
    found = at_sqnr(
        sizes, probe,
        {.wanted = wanted, .predicted = given ? options.target_sqnr_db : sizes.sqnr_db(equal)},
        method);
    if (in_company) {
      found.bits = refine_bits(sizes, probe, {.least_sqnr_db = wanted}, found.bits);
    }
  }
  found.cost = sizes.cost(found.bits);
  found.sqnr_db = sizes.sqnr_db(found.bits);
  return found;
}

}  // namespace bitloom::quant
