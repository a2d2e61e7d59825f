// How many bits for whom: widths of single tensors, so that the whole is as good as asked for and
// as cheap as it can be, or as good as a price allows.
// Comes from: quant/sqnr.h (noises, gains). Goes to: quant/choose_bits.h.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "bitloom/quant/sqnr.h"

namespace bitloom::quant {

/// One width to choose: the weights of a layer, or the codes that it emits (and what shares them).
struct AllocationItem {
  std::string layer;
  bool is_weight = false;
  std::int64_t elements = 0;  ///< weights, or activations of one image
  double cost_per_bit = 0.0;  ///< rho
  PerWidth noise;             ///< share of the output's signal that this item's noise is
  int min_bits = 2;
  int max_bits = 8;  ///< as min_bits: held fixed
};

/// Two items whose widths are multiplied: bit-operations of a layer = macs * weight * source bits.
struct CostProduct {
  std::size_t weight = 0;
  std::size_t source = 0;
  double macs = 0.0;
};

/// Cost of widths: sum of cost_per_bit * bits, plus sum of macs * bits * bits.
struct AllocationProblem {
  std::vector<AllocationItem> items;
  std::vector<CostProduct> products;
  double cost(const std::vector<int>& bits) const;
  /// Share of the output's signal that all noises together are; they add.
  double noise(const std::vector<int>& bits) const;
  double sqnr_db(const std::vector<int>& bits) const { return to_db(1.0, noise(bits)); }
};

/// What is asked for: exactly one of the two.
struct AllocationGoal {
  std::optional<double> least_sqnr_db;  ///< then the cost is made small
  std::optional<double> most_cost;      ///< then the noise is made small
};

struct Allocation {
  std::vector<int> bits;          ///< in order of the items
  std::vector<double> real_bits;  ///< before rounding; empty where the method has none
  double cost = 0.0;
  double sqnr_db = 0.0;  ///< predicted
};

/// The widths of least cost (noise) in closed form, not rounded. With noise_i = c_i 10^(-kappa_i
/// bits / 10), both fitted to the item's noises, and rho_i its cost per bit:
///   bits_i = (10 / kappa_i) log10(kappa_i c_i / (lambda rho_i)), cut to [min, max],
/// lambda found by bisection so that the goal is met with equality. Where c and kappa are equal,
///   bits_i - bits_j = (10 / kappa) log10(rho_j / rho_i).
/// Products make rho depend on the other width: solved again with those until it settles.
/// Source: Lin et al., arXiv:1511.06393, section 4; ours differs: c and kappa are each item's own.
std::vector<double> closed_form_bits(const AllocationProblem& problem, const AllocationGoal& goal);

/// closed_form_bits(), rounded to the nearest, then repaired by the items' own noises: widths rise
/// (fall) where that gains most noise for its cost until the goal is met, and what it leaves over
/// is spent. Then every width in turn is forced a bit or two up or down and the others answer in
/// the same way; the best of those moves is taken until none is better. Without products, branch
/// and bound around the result goes on to the optimum, or to its limit of 300,000 steps.
/// @throws ConfigError if no widths within the limits meet the goal; it names what they can reach.
Allocation allocate(const AllocationProblem& problem, const AllocationGoal& goal);

/// From the widest widths down, always where a bit less costs least noise for what it saves, while
/// the goal allows (until it is met). @throws as allocate().
Allocation allocate_greedily(const AllocationProblem& problem, const AllocationGoal& goal);

/// The best of all widths. @throws ConfigError where there are more than 10^8; as allocate().
Allocation allocate_exhaustively(const AllocationProblem& problem, const AllocationGoal& goal);

/// Items of one kind as a problem of its own, in their order; without products.
AllocationProblem only(const AllocationProblem& problem, bool weights);

/// Mean width of the items of one kind, each element counted once; 32 where there are none.
double average_bits(const AllocationProblem& problem, const std::vector<int>& bits, bool weights);

}  // namespace bitloom::quant
