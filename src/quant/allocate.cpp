#include "bitloom/quant/allocate.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

#include "bitloom/core/error.h"
#include "bitloom/quant/step_size.h"

namespace bitloom::quant {
namespace {

using Bits = std::vector<int>;

constexpr double kLeastNoise = 1e-30;  // of a grid that holds its tensor exactly
constexpr double kLeastKappa = 1.0;    // dB per bit; below it no bit would ever pay
constexpr double kSlack = 1e-12;       // relative: what rounding in the sums may do to a goal
constexpr int kLinearizations = 30;

// noise = c 10^(-kappa bits / 10), by least squares in dB over the item's widths.
struct NoiseLaw {
  double log10_c = 0.0;
  double kappa = kLeastKappa;
};

NoiseLaw noise_law(const AllocationItem& item) {
  std::vector<int> widths;
  std::vector<double> sqnr;
  double mean_bits = 0.0;
  double mean_db = 0.0;
  const double count = item.max_bits - item.min_bits + 1;
  for (int bits = item.min_bits; bits <= item.max_bits; ++bits) {
    widths.push_back(bits);
    sqnr.push_back(-10.0 * std::log10(std::max(item.noise.at(bits), kLeastNoise)));
    mean_bits += bits / count;
    mean_db += sqnr.back() / count;
  }
  if (widths.size() < 2) return {};
  const double kappa = std::max(measured_kappa_db_per_bit(widths, sqnr), kLeastKappa);
  return {(kappa * mean_bits - mean_db) / 10.0, kappa};
}

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

double most_noise(const AllocationGoal& goal) {
  return std::pow(10.0, -*goal.least_sqnr_db / 10.0) * (1.0 + kSlack);
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

// The item whose next width (one more, one less) has the best ratio of noise to cost.
struct Step {
  std::size_t item = 0;
  double noise_per_cost = 0.0;
  bool found = false;
};

Step best_step(const AllocationProblem& problem, Bits& bits, int change,
               const std::function<bool(const Bits&)>& allowed) {
  Step best;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const AllocationItem& item = problem.items[i];
    const int next = bits[i] + change;
    if (next < item.min_bits || next > item.max_bits) continue;
    const double noise = std::abs(item.noise.at(bits[i]) - item.noise.at(next));
    const double before = problem.cost(bits);
    bits[i] = next;
    const double cost = std::abs(problem.cost(bits) - before);
    const bool here = allowed(bits);
    bits[i] -= change;
    if (!here) continue;
    const double ratio = noise / std::max(cost, kLeastNoise);
    // More bits where they gain most; fewer where they lose least.
    if (!best.found || (change > 0 ? ratio > best.noise_per_cost : ratio < best.noise_per_cost)) {
      best = {i, ratio, true};
    }
  }
  return best;
}

// Until the goal is met.
void repair(const AllocationProblem& problem, const AllocationGoal& goal, Bits& bits) {
  const int change = goal.least_sqnr_db ? 1 : -1;
  while (!meets(problem, goal, bits)) {
    const Step step = best_step(problem, bits, change, [](const Bits&) { return true; });
    BITLOOM_ASSERT(step.found);
    bits[step.item] += change;
  }
}

// One width, or two of them, moved: tried in place and taken back.
class Polish {
 public:
  Polish(const AllocationProblem& problem, const AllocationGoal& goal, Bits& bits)
      : problem_(problem), goal_(goal), bits_(bits), best_(objective(problem, goal, bits)) {}

  bool improve() {
    best_bits_.clear();
    for (std::size_t i = 0; i < bits_.size(); ++i) {
      for (const int change : {-2, -1, 1, 2}) {
        move(i, change, [&] {
          consider();
          for (std::size_t j = 0; j < bits_.size(); ++j) {
            // Both ways make it cheaper, or both dearer: single moves find those.
            if (j != i) move(j, change < 0 ? 1 : -1, [&] { consider(); });
          }
        });
      }
    }
    if (best_bits_.empty()) return false;
    bits_ = best_bits_;
    return true;
  }

 private:
  template <typename Then>
  void move(std::size_t i, int change, const Then& then) {
    const AllocationItem& item = problem_.items[i];
    const int next = bits_[i] + change;
    if (next < item.min_bits || next > item.max_bits) return;
    bits_[i] = next;
    then();
    bits_[i] = next - change;
  }

  void consider() {
    const double here = objective(problem_, goal_, bits_);
    if (here >= best_ * (1.0 - kSlack) || !meets(problem_, goal_, bits_)) return;
    best_ = here;
    best_bits_ = bits_;
  }

  const AllocationProblem& problem_;
  const AllocationGoal& goal_;
  Bits& bits_;
  double best_;
  Bits best_bits_;
};

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

std::vector<double> closed_form_bits(const AllocationProblem& problem, const AllocationGoal& goal) {
  std::vector<NoiseLaw> laws;
  std::vector<double> bits;
  for (const AllocationItem& item : problem.items) {
    laws.push_back(noise_law(item));
    bits.push_back(item.max_bits);
  }
  std::vector<double> rho(bits.size());
  const auto solve = [&](double log10_lambda) {
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const AllocationItem& item = problem.items[i];
      const double exponent = std::log10(laws[i].kappa / std::max(rho[i], kLeastNoise)) +
                              laws[i].log10_c - log10_lambda;
      bits[i] = std::clamp(10.0 / laws[i].kappa * exponent, static_cast<double>(item.min_bits),
                           static_cast<double>(item.max_bits));
    }
  };
  const auto too_few = [&] {
    double sum = 0.0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const bool fixed = problem.items[i].min_bits == problem.items[i].max_bits;
      sum += !goal.least_sqnr_db ? rho[i] * bits[i]
             : fixed             ? problem.items[i].noise.at(problem.items[i].min_bits)
                                 : std::pow(10.0, laws[i].log10_c - laws[i].kappa * bits[i] / 10.0);
    }
    // With products every width has the other's share in its rho: each product counts twice.
    if (!goal.least_sqnr_db) return sum < *goal.most_cost * (problem.products.empty() ? 1.0 : 2.0);
    return sum > most_noise(goal);
  };
  for (int round = 0; round < (problem.products.empty() ? 1 : kLinearizations); ++round) {
    for (std::size_t i = 0; i < bits.size(); ++i) rho[i] = problem.items[i].cost_per_bit;
    for (const CostProduct& product : problem.products) {
      rho[product.weight] += product.macs * bits[product.source];
      rho[product.source] += product.macs * bits[product.weight];
    }
    double low = -80.0;  // log10 lambda: many bits
    double high = 80.0;  // few
    for (int i = 0; i < 100; ++i) {
      const double middle = 0.5 * (low + high);
      solve(middle);
      (too_few() ? high : low) = middle;
    }
    solve(0.5 * (low + high));
  }
  return bits;
}

Allocation allocate(const AllocationProblem& problem, const AllocationGoal& goal) {
  require_reachable(problem, goal);
  const std::vector<double> real = closed_form_bits(problem, goal);
  Bits bits;
  for (const double width : real) bits.push_back(static_cast<int>(std::lround(width)));
  repair(problem, goal, bits);
  Polish polish(problem, goal, bits);
  while (polish.improve()) {
  }
  Allocation allocation = finished(problem, std::move(bits));
  allocation.real_bits = real;
  return allocation;
}

Allocation allocate_greedily(const AllocationProblem& problem, const AllocationGoal& goal) {
  require_reachable(problem, goal);
  Bits bits = ends(problem, true);
  const bool by_noise = goal.least_sqnr_db.has_value();
  while (by_noise || !meets(problem, goal, bits)) {
    const Step step = best_step(problem, bits, -1, [&](const Bits& next) {
      return !by_noise || meets(problem, goal, next);
    });
    if (!step.found) break;
    --bits[step.item];
  }
  return finished(problem, std::move(bits));
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
