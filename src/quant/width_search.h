// Widths that move one bit at a time towards a goal, and away from where they got stuck.
// Comes from: quant/allocate.h's problems. Goes to: allocate.cpp, closed_form.cpp.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

#include "bitloom/quant/allocate.h"

namespace bitloom::quant {

inline constexpr double kLeastNoise = 1e-30;  ///< of a grid that holds its tensor exactly
inline constexpr double kSlack = 1e-12;       ///< relative: what rounding in sums may do to a goal

/// Noise that goal.least_sqnr_db allows, as a share of the output's signal.
inline double most_noise(const AllocationGoal& goal) {
  return std::pow(10.0, -*goal.least_sqnr_db / 10.0) * (1.0 + kSlack);
}

/// Widths with their sums, changed one item at a time.
class Widths {
 public:
  Widths(const AllocationProblem& problem, const AllocationGoal& goal, std::vector<int> bits)
      : problem_(&problem), goal_(&goal), bits_(std::move(bits)) {
    noise_ = problem.noise(bits_);
    cost_ = problem.cost(bits_);
  }

  const std::vector<int>& bits() const { return bits_; }
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
  /// What is made small.
  double objective() const { return goal_->least_sqnr_db ? cost_ : noise_; }
  /// +1 where more bits bring the goal nearer.
  int towards_goal() const { return goal_->least_sqnr_db ? 1 : -1; }

 private:
  bool meets_with(double noise, double cost) const {
    if (goal_->least_sqnr_db) return noise <= most_noise(*goal_);
    return cost <= *goal_->most_cost * (1.0 + kSlack);
  }

  const AllocationProblem* problem_;
  const AllocationGoal* goal_;
  std::vector<int> bits_;
  double noise_ = 0.0;
  double cost_ = 0.0;
};

/// Moves towards the goal until it is met, always where a bit brings most for what it costs.
void repair(Widths& widths);

/// Spends what the goal leaves over.
void spend(Widths& widths);

/// Forces one width by a bit or two, or two widths, up or down; the others answer by repair() and
/// spend(). Takes such moves until none makes the objective better.
void improve(Widths& widths);

}  // namespace bitloom::quant
