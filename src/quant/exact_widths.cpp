#include "exact_widths.h"

#include <algorithm>
#include <limits>

namespace bitloom::quant {
namespace {

constexpr double kImprovement = 1e-9;  // relative: less is rounding in sums

// A width of an item, in the words of the bound.
struct Option {
  int bits = 0;
  double objective = 0.0;
  double constraint = 0.0;
  double reduced = 0.0;  // objective + multiplier * constraint - the item's least of that
};

struct Item {
  std::size_t index = 0;
  std::vector<Option> options;  // by `reduced`, the least first
};

std::vector<Item> items_of(const AllocationProblem& problem, const AllocationGoal& goal) {
  std::vector<Item> items;
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    const AllocationItem& from = problem.items[i];
    Item& item = items.emplace_back(Item{.index = i});
    for (int bits = from.min_bits; bits <= from.max_bits; ++bits) {
      const double cost = from.cost_per_bit * bits;
      const double noise = from.noise.at(bits);
      item.options.push_back(goal.least_sqnr_db
                                 ? Option{.bits = bits, .objective = cost, .constraint = noise}
                                 : Option{.bits = bits, .objective = noise, .constraint = cost});
    }
  }
  return items;
}

// The constraint's sum where every item has its best width at this multiplier.
double constraint_at(const std::vector<Item>& items, double multiplier) {
  double sum = 0.0;
  for (const Item& item : items) {
    const auto best = std::min_element(
        item.options.begin(), item.options.end(), [multiplier](const Option& a, const Option& b) {
          return a.objective + multiplier * a.constraint < b.objective + multiplier * b.constraint;
        });
    sum += best->constraint;
  }
  return sum;
}

// Where the bound is greatest: the least multiplier at which the constraint is met.
double best_multiplier(const std::vector<Item>& items, double limit) {
  double low = -60.0;  // log10
  double high = 60.0;
  for (int round = 0; round < 100; ++round) {
    const double middle = 0.5 * (low + high);
    (constraint_at(items, std::pow(10.0, middle)) > limit ? low : high) = middle;
  }
  return std::pow(10.0, high);
}

class Search {
 public:
  Search(std::vector<Item> items, double limit, std::int64_t most_nodes)
      : items_(std::move(items)), limit_(limit), nodes_(most_nodes) {
    const double multiplier = best_multiplier(items_, limit);
    bound_ = -multiplier * limit;
    for (Item& item : items_) {
      double least = std::numeric_limits<double>::infinity();
      for (Option& option : item.options) {
        option.reduced = option.objective + multiplier * option.constraint;
        least = std::min(least, option.reduced);
      }
      bound_ += least;
      for (Option& option : item.options) option.reduced -= least;
      std::sort(item.options.begin(), item.options.end(),
                [](const Option& a, const Option& b) { return a.reduced < b.reduced; });
    }
    // Items whose second width costs most first: little is left to choose there.
    const auto second = [](const Item& item) {
      return item.options.size() > 1 ? item.options[1].reduced
                                     : std::numeric_limits<double>::infinity();
    };
    std::stable_sort(items_.begin(), items_.end(),
                     [&second](const Item& a, const Item& b) { return second(a) > second(b); });
    least_left_.assign(items_.size() + 1, 0.0);
    for (std::size_t i = items_.size(); i > 0; --i) {
      double least = std::numeric_limits<double>::infinity();
      for (const Option& option : items_[i - 1].options) least = std::min(least, option.constraint);
      least_left_[i - 1] = least_left_[i] + least;
    }
  }

  std::vector<int> better_than(const std::vector<int>& start, double objective) {
    best_ = start;
    best_objective_ = objective;
    bits_ = start;
    branch(0, 0.0, 0.0, 0.0);
    return best_;
  }

 private:
  void branch(std::size_t depth, double objective, double constraint, double reduced) {
    if (depth == items_.size()) {
      if (objective >= best_objective_ * (1.0 - kImprovement)) return;
      best_objective_ = objective;
      best_ = bits_;
      return;
    }
    for (const Option& option : items_[depth].options) {
      if (--nodes_ < 0) return;
      if (bound_ + reduced + option.reduced >= best_objective_ * (1.0 - kImprovement)) return;
      const double used = constraint + option.constraint;
      if (used + least_left_[depth + 1] > limit_) continue;
      bits_[items_[depth].index] = option.bits;
      branch(depth + 1, objective + option.objective, used, reduced + option.reduced);
    }
  }

  std::vector<Item> items_;
  double limit_ = 0.0;
  std::int64_t nodes_ = 0;
  double bound_ = 0.0;              // of all widths
  std::vector<double> least_left_;  // least constraint of the items from here on
  std::vector<int> bits_;
  std::vector<int> best_;
  double best_objective_ = 0.0;
};

}  // namespace

std::vector<int> exact_bits(const AllocationProblem& problem, const AllocationGoal& goal,
                            const std::vector<int>& start, std::int64_t most_nodes) {
  if (!problem.products.empty() || problem.items.empty()) return start;
  const double limit = goal.least_sqnr_db ? most_noise(goal) : *goal.most_cost * (1.0 + kSlack);
  const double objective = goal.least_sqnr_db ? problem.cost(start) : problem.noise(start);
  return Search(items_of(problem, goal), limit, most_nodes).better_than(start, objective);
}

}  // namespace bitloom::quant
