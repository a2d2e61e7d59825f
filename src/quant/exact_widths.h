// The best of all widths, as far as a budget of steps goes: branch and bound.
// Comes from: width_search.h (good widths to begin with). Goes to: allocate.cpp.
#pragma once

#include "width_search.h"

namespace bitloom::quant {

/// Looks for widths better than `start`, which must meet the goal, and returns the best.
///
/// With objective f, constraint g <= G (cost and noise, or noise and cost), both sums over items,
/// and the multiplier u >= 0 that makes the bound greatest, no widths that meet the goal are better
/// than
///   sum over items of min over widths of (f_i + u g_i), minus u G.
/// Items are fixed one after the other, the widths of each in order of f_i + u g_i; what is fixed,
/// plus that bound for the rest, cuts whatever cannot be better than the best found. It ends with
/// the optimum, or after `most_nodes` steps with the best until then.
///
/// Problems with products of widths have no such sum: `start` comes back.
std::vector<int> exact_bits(const AllocationProblem& problem, const AllocationGoal& goal,
                            const std::vector<int>& start, std::int64_t most_nodes);

}  // namespace bitloom::quant
