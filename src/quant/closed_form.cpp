// The allocation of least cost before rounding: quant/allocate.h, closed_form_bits().
#include <algorithm>
#include <cmath>

#include "bitloom/quant/step_size.h"
#include "width_search.h"

namespace bitloom::quant {
namespace {

constexpr double kLeastKappa = 1.0;  // dB per bit; below it no bit would ever pay
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

}  // namespace

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

}  // namespace bitloom::quant
