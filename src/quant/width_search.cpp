#include "width_search.h"

#include <array>
#include <limits>

namespace bitloom::quant {
namespace {

constexpr double kImprovement = 1e-9;  // relative: less is rounding in the running sums

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
bool repair_around(Widths& widths, const Held& held) {
  while (!widths.meets()) {
    const std::size_t item = best_item(widths, widths.towards_goal(), false, held);
    if (item == kNone) return false;
    widths.apply(item, widths.towards_goal());
  }
  return true;
}

// Spends what the goal leaves over.
void spend_around(Widths& widths, const Held& held) {
  const int change = -widths.towards_goal();
  for (std::size_t item = best_item(widths, change, true, held); item != kNone;
       item = best_item(widths, change, true, held)) {
    widths.apply(item, change);
  }
}

constexpr std::array<int, 4> kMoves{-2, -1, 1, 2};

// The others' answer to `moved`, where that is better than `best`, which it then becomes.
bool answered(Widths moved, const Held& held, Widths& best) {
  if (!repair_around(moved, held)) return false;
  spend_around(moved, held);
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

void repair(Widths& widths) { repair_around(widths, {}); }

void spend(Widths& widths) { spend_around(widths, {}); }

void improve(Widths& widths) {
  while (improve_by_one(widths) || improve_by_two(widths)) {
  }
}

}  // namespace bitloom::quant
