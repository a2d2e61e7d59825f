#include "bitloom/quant/refine_bits.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <utility>

#include "bitloom/quant/choose_bits.h"
#include "exact_widths.h"
#include "width_search.h"

namespace bitloom::quant {
namespace {

using Bits = std::vector<int>;

constexpr int kRounds = 8;
constexpr std::int64_t kMostNodes = 300'000;  // of branch and bound: some milliseconds
constexpr std::array<double, 4> kLossFactors{1.0, 1.5, 2.5, 4.0};
constexpr std::size_t kMostExchanges = 16;
constexpr double kImprovement = 1e-6;  // relative: less is not worth a round

// What is to be small, or below the goal.
std::vector<double> measured_noises(NoiseProbe& probe, const AllocationProblem& problem,
                                    const AllocationGoal& goal, const std::vector<Bits>& all) {
  std::vector<StepBits> assignments;
  for (const Bits& bits : all) assignments.push_back(step_bits(probe, problem, bits));
  std::vector<double> measured;
  for (const Noise& noise : probe.measure(assignments)) {
    measured.push_back(goal.least_sqnr_db ? noise.output / probe.output_signal()
                                          : noise.divergence);
  }
  return measured;
}

// One item, moved by a bit.
struct Move {
  std::size_t item = 0;
  int bits = 0;
  double noise = 0.0;  // of all items together, this one moved
};

std::vector<Move> moves_around(NoiseProbe& probe, const AllocationProblem& problem,
                               const AllocationGoal& goal, const Bits& bits) {
  std::vector<Move> moves;
  std::vector<Bits> all;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    for (const int next : {bits[i] - 1, bits[i] + 1}) {
      if (next < problem.items[i].min_bits || next > problem.items[i].max_bits) continue;
      moves.push_back({.item = i, .bits = next});
      all.push_back(bits);
      all.back()[i] = next;
    }
  }
  const std::vector<double> noises = measured_noises(probe, problem, goal, all);
  for (std::size_t m = 0; m < moves.size(); ++m) moves[m].noise = noises[m];
  return moves;
}

// The problem of single bits around `bits`, whose noise is `here`.
AllocationProblem local_problem(const AllocationProblem& problem, const Bits& bits, double here,
                                const std::vector<Move>& moves, double loss_factor) {
  AllocationProblem local = problem;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    AllocationItem& item = local.items[i];
    item.min_bits = item.max_bits = bits[i];
    item.noise = {};
  }
  for (const Move& move : moves) {
    AllocationItem& item = local.items[move.item];
    item.min_bits = std::min(item.min_bits, move.bits);
    item.max_bits = std::max(item.max_bits, move.bits);
    const double change = move.noise - here;
    item.noise.at(move.bits) = change > 0.0 ? loss_factor * change : change;
  }
  double rest = here;
  for (AllocationItem& item : local.items) {
    double least = std::numeric_limits<double>::infinity();
    for (int width = item.min_bits; width <= item.max_bits; ++width) {
      least = std::min(least, item.noise.at(width));
    }
    for (int width = item.min_bits; width <= item.max_bits; ++width) item.noise.at(width) -= least;
    rest += least;
  }
  // What one bit alone would gain, summed, can be more than there is.
  AllocationItem& constant = local.items.emplace_back();
  constant.min_bits = constant.max_bits = kNarrowestBits;
  constant.noise.at(kNarrowestBits) = std::max(rest, 0.0);
  return local;
}

Bits solved(const AllocationProblem& local, const AllocationGoal& goal, const Bits& bits) {
  Bits start = bits;
  start.push_back(kNarrowestBits);  // the constant
  Widths widths(local, goal, std::move(start));
  repair(widths);
  spend(widths);
  if (!local.products.empty()) improve(widths);
  Bits found = exact_bits(local, goal, widths.bits(), kMostNodes);
  found.pop_back();
  return found;
}

struct Point {
  Bits bits;
  double noise = 0.0;
};

// A bit of one item for a bit of another, whatever the sum of their changes promises: the pairs
// that promise most, within the price (or cheaper than before).
std::vector<Bits> exchanges(const AllocationProblem& problem, const AllocationGoal& goal,
                            const Point& from, const std::vector<Move>& moves) {
  const double most = goal.most_cost ? *goal.most_cost * (1.0 + kSlack)
                                     : problem.cost(from.bits) * (1.0 - kImprovement);
  std::vector<Point> pairs;
  for (const Move& down : moves) {
    if (down.bits > from.bits[down.item]) continue;
    for (const Move& up : moves) {
      if (up.bits < from.bits[up.item] || up.item == down.item) continue;
      Point pair{from.bits, down.noise + up.noise};
      pair.bits[down.item] = down.bits;
      pair.bits[up.item] = up.bits;
      if (problem.cost(pair.bits) <= most) pairs.push_back(std::move(pair));
    }
  }
  std::stable_sort(pairs.begin(), pairs.end(),
                   [](const Point& a, const Point& b) { return a.noise < b.noise; });
  if (pairs.size() > kMostExchanges) pairs.resize(kMostExchanges);
  std::vector<Bits> found;
  for (Point& pair : pairs) found.push_back(std::move(pair.bits));
  return found;
}

// True if `a` meets the goal and is better than `b`, which does.
bool better(const AllocationProblem& problem, const AllocationGoal& goal, const Point& a,
            const Point& b) {
  if (goal.least_sqnr_db) {
    return a.noise <= most_noise(goal) &&
           problem.cost(a.bits) < problem.cost(b.bits) * (1.0 - kImprovement);
  }
  return problem.cost(a.bits) <= *goal.most_cost * (1.0 + kSlack) &&
         a.noise < b.noise * (1.0 - kImprovement);
}

}  // namespace

std::vector<int> refine_bits(const AllocationProblem& problem, NoiseProbe& probe,
                             const AllocationGoal& goal, const std::vector<int>& start) {
  bool widest = true;
  for (std::size_t i = 0; i < start.size(); ++i) {
    widest = widest && start[i] == problem.items[i].max_bits;
  }
  if (widest && goal.most_cost) return start;
  Point best{start, measured_noises(probe, problem, goal, {start}).front()};
  for (int round = 0; round < kRounds; ++round) {
    const std::vector<Move> moves = moves_around(probe, problem, goal, best.bits);
    std::vector<Bits> candidates = exchanges(problem, goal, best, moves);
    for (const double factor : kLossFactors) {
      Bits found =
          solved(local_problem(problem, best.bits, best.noise, moves, factor), goal, best.bits);
      if (std::find(candidates.begin(), candidates.end(), found) == candidates.end()) {
        candidates.push_back(std::move(found));
      }
    }
    const std::vector<double> noises = measured_noises(probe, problem, goal, candidates);
    Point next = best;
    for (std::size_t c = 0; c < candidates.size(); ++c) {
      Point point{candidates[c], noises[c]};
      if (better(problem, goal, point, next)) next = std::move(point);
    }
    if (next.bits == best.bits) break;
    best = std::move(next);
  }
  return best.bits;
}

}  // namespace bitloom::quant
