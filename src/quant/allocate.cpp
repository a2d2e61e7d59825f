#include "bitloom/quant/allocate.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "bitloom/core/error.h"
#include "bitloom/quant/step_size.h"

namespace bitloom::quant {
namespace {

using Bits = std::vector<int>;

constexpr double kLeastNoise = 1e-30;  // of a grid that holds its tensor exactly
constexpr double kLeastKappa = 1.0;    // dB per bit; below it no bit would ever pay
constexpr double kSlack = 1e-12;       // relative: what rounding in the sums may do to a goal
constexpr double kImprovement = 1e-9;  // relative: less is rounding in the running sums
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

// Widths with their sums, changed one item at a time.
class Widths {
 public:
  Widths(const AllocationProblem& problem, const AllocationGoal& goal, Bits bits)
      : problem_(&problem), goal_(&goal), bits_(std::move(bits)) {
    noise_ = problem.noise(bits_);
    cost_ = problem.cost(bits_);
  }

  const Bits& bits() const { return bits_; }
  std::size_t size() const { return bits_.size(); }
  bool can(std::size_t i, int change) const {
    const int next = bits_[i] + change;
    return next >= problem_->items[i].min_bits && next <= problem_->items[i].max_bits;
  }
  double noise_change(std::size_t i, int change) const {
    const PerWidth& noise = problem_->items[i].noise;
    return noise.at(bits_[i] + change) - noise.at(bits_[i]);
  }
  double cost_change(std::size_t i, int change) const {
    double rho = problem_->items[i].cost_per_bit;
    for (const CostProduct& product : problem_->products) {
      if (product.weight == i) rho += product.macs * bits_[product.source];
      if (product.source == i) rho += product.macs * bits_[product.weight];
    }
    return rho * change;
  }
  void apply(std::size_t i, int change) {
    noise_ += noise_change(i, change);
    cost_ += cost_change(i, change);
    bits_[i] += change;
  }
  bool meets() const { return meets_with(noise_, cost_); }
  bool meets_after(std::size_t i, int change) const {
    return meets_with(noise_ + noise_change(i, change), cost_ + cost_change(i, change));
  }
  // What is made small.
  double objective() const { return goal_->least_sqnr_db ? cost_ : noise_; }
  // +1 where more bits bring the goal nearer.
  int towards_goal() const { return goal_->least_sqnr_db ? 1 : -1; }

 private:
  bool meets_with(double noise, double cost) const {
    if (goal_->least_sqnr_db) return noise <= most_noise(*goal_);
    return cost <= *goal_->most_cost * (1.0 + kSlack);
  }

  const AllocationProblem* problem_;
  const AllocationGoal* goal_;
  Bits bits_;
  double noise_ = 0.0;
  double cost_ = 0.0;
};

constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();

// Items that a search holds where it put them.
struct Held {
  std::size_t first = kNone;
  std::size_t second = kNone;
  bool holds(std::size_t item) const { return item == first || item == second; }
};

// The item that moves by `change` (one bit) at the best ratio of noise to cost: more bits where
// they gain most, fewer where they lose least. kNone where none may.
std::size_t best_item(const Widths& widths, int change, bool keeps_goal, const Held& held) {
  std::size_t best = kNone;
  double best_ratio = 0.0;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    if (held.holds(i) || !widths.can(i, change)) continue;
    if (keeps_goal && !widths.meets_after(i, change)) continue;
    const double cost = std::max(std::abs(widths.cost_change(i, change)), kLeastNoise);
    const double ratio = -change * widths.noise_change(i, change) / cost;
    if (best == kNone || (change > 0) == (ratio > best_ratio)) {
      best = i;
      best_ratio = ratio;
    }
  }
  return best;
}

// Moves towards the goal until it is met. @return false if held items keep it out of reach.
bool repair(Widths& widths, const Held& held = {}) {
  while (!widths.meets()) {
    const std::size_t item = best_item(widths, widths.towards_goal(), false, held);
    if (item == kNone) return false;
    widths.apply(item, widths.towards_goal());
  }
  return true;
}

// Spends what the goal leaves over.
void spend(Widths& widths, const Held& held = {}) {
  const int change = -widths.towards_goal();
  for (std::size_t item = best_item(widths, change, true, held); item != kNone;
       item = best_item(widths, change, true, held)) {
    widths.apply(item, change);
  }
}

constexpr std::array<int, 4> kMoves{-2, -1, 1, 2};

// The others' answer to `moved`, where that is better than `best`, which it then becomes.
bool answered(Widths moved, const Held& held, Widths& best) {
  if (!repair(moved, held)) return false;
  spend(moved, held);
  if (moved.objective() >= best.objective() * (1.0 - kImprovement)) return false;
  best = std::move(moved);
  return true;
}

// Forces one width by a bit or two and keeps the best of all such moves.
bool improve_by_one(Widths& widths) {
  Widths best = widths;
  bool better = false;
  for (std::size_t i = 0; i < widths.size(); ++i) {
    for (const int change : kMoves) {
      if (!widths.can(i, change)) continue;
      Widths moved = widths;
      moved.apply(i, change);
      better = answered(std::move(moved), {i}, best) || better;
    }
  }
  widths = std::move(best);
  return better;
}

// Forces two widths and takes the first such move that is better.
bool improve_by_two(Widths& widths) {
  for (std::size_t i = 0; i < widths.size(); ++i) {
    for (std::size_t j = i + 1; j < widths.size(); ++j) {
      for (const int first : kMoves) {
        for (const int second : kMoves) {
          if (!widths.can(i, first) || !widths.can(j, second)) continue;
          Widths moved = widths;
          moved.apply(i, first);
          moved.apply(j, second);
          if (answered(std::move(moved), {i, j}, widths)) return true;
        }
      }
    }
  }
  return false;
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
    double cost = 0.0;
    double noise = 0.0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      const AllocationItem& item = problem.items[i];
      cost += item.cost_per_bit * bits[i];
      noise += item.min_bits == item.max_bits
                   ? item.noise.at(item.min_bits)
                   : std::pow(10.0, laws[i].log10_c - laws[i].kappa * bits[i] / 10.0);
    }
    for (const CostProduct& product : problem.products) {
      cost += product.macs * bits[product.weight] * bits[product.source];
    }
    return goal.least_sqnr_db ? noise > most_noise(goal) : cost < *goal.most_cost;
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
  Bits rounded;
  for (const double width : real) rounded.push_back(static_cast<int>(std::lround(width)));
  Widths widths(problem, goal, std::move(rounded));
  repair(widths);
  spend(widths);
  while (improve_by_one(widths) || improve_by_two(widths)) {
  }
  Allocation allocation = finished(problem, widths.bits());
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
