// A probed network as a problem of widths, and widths as tables: quant/choose_bits.h.
#include <map>
#include <string>
#include <utility>

#include "bitloom/quant/choose_bits.h"
#include "bitloom/quant/passes.h"

namespace bitloom::quant {
namespace {

using layers::Graph;

constexpr double kRealBits = 32.0;

LayerBitsTable table_of(const Graph& float_graph, const QuantOptions& options,
                        const QuantizeTarget& target) {
  QuantOptions static_options = options;
  if (options.method == "float" || options.method == "qat") static_options.method = "ptq-static";
  static_options.shift_batch_norm = false;  // of training
  return layer_bits_of(
      insert_fake_quant(float_graph, static_options, target.profile, target.input_is_signed));
}

int width_in(const LayerBitsTable& table, const AllocationItem& item) {
  const LayerBits& bits = table.at(item.layer);
  return item.is_weight ? bits.weight : bits.activation;
}

using ItemKey = std::pair<std::string, bool>;

std::map<ItemKey, std::size_t> index_of_items(const AllocationProblem& problem) {
  std::map<ItemKey, std::size_t> index;
  for (std::size_t i = 0; i < problem.items.size(); ++i) {
    index[{problem.items[i].layer, problem.items[i].is_weight}] = i;
  }
  return index;
}

}  // namespace

AllocationProblem allocation_problem(const NoiseProbe& probe, const NoiseGains* gains,
                                     const Graph& float_graph, const QuantOptions& options,
                                     const QuantizeTarget& target) {
  // What keeps its width when the general one changes is held fixed.
  const auto table_at = [&](int bits) {
    QuantOptions general = options;
    general.weight_bits = bits;
    if (options.activation_bits != kRealBits) general.activation_bits = bits;
    return table_of(float_graph, general, target);
  };
  const LayerBitsTable low = table_at(options.min_bits);
  const LayerBitsTable high = table_at(options.min_bits == 8 ? 7 : options.min_bits + 1);

  AllocationProblem problem;
  std::map<ItemKey, std::size_t> index;
  double totals[2] = {0.0, 0.0};
  for (std::size_t s = 0; s < probe.steps().size(); ++s) {
    const QuantizationStep& step = probe.steps()[s];
    const auto [place, fresh] = index.try_emplace({step.layer, step.is_weight}, index.size());
    if (fresh) {
      AllocationItem& made = problem.items.emplace_back();
      made.layer = step.layer;
      made.is_weight = step.is_weight;
      made.min_bits = options.min_bits;
      made.max_bits = options.max_bits;
      if (width_in(low, made) == width_in(high, made)) {
        made.min_bits = made.max_bits = width_in(low, made);
      }
    }
    AllocationItem& item = problem.items[place->second];
    item.elements += step.elements;
    totals[step.is_weight ? 1 : 0] += static_cast<double>(step.elements);
    const double share =
        gains == nullptr ? 1.0 / step.signal : gains->to_output[s] / probe.output_signal();
    for (int bits = kNarrowestBits; bits <= kWidestBits; ++bits) {
      item.noise.at(bits) += share * step.noise.at(bits);
    }
  }
  for (AllocationItem& item : problem.items) {
    item.cost_per_bit = static_cast<double>(item.elements) / totals[item.is_weight ? 1 : 0];
  }
  return problem;
}

void count_bit_operations(AllocationProblem& problem, const NoiseProbe& probe) {
  const auto index = index_of_items(problem);
  std::map<std::string, std::size_t> item_of_node;
  double total = 0.0;
  for (const QuantizationStep& step : probe.steps()) {
    item_of_node[step.node] = index.at({step.layer, step.is_weight});
    total += static_cast<double>(step.macs);
  }
  for (AllocationItem& item : problem.items) item.cost_per_bit = 0.0;
  problem.products.clear();
  for (const QuantizationStep& step : probe.steps()) {
    if (!step.is_weight) continue;
    const double share = static_cast<double>(step.macs) / total;
    const std::size_t weight = item_of_node.at(step.node);
    if (step.source.empty()) {
      problem.items[weight].cost_per_bit += share * kRealBits;
    } else {
      problem.products.push_back({weight, item_of_node.at(step.source), share});
    }
  }
}

std::vector<int> widths_of(const AllocationProblem& problem, const Graph& float_graph,
                           const QuantOptions& options, const QuantizeTarget& target) {
  const LayerBitsTable table = table_of(float_graph, options, target);
  std::vector<int> bits;
  for (const AllocationItem& item : problem.items) bits.push_back(width_in(table, item));
  return bits;
}

StepBits step_bits(const NoiseProbe& probe, const AllocationProblem& problem,
                   const std::vector<int>& bits) {
  const auto index = index_of_items(problem);
  StepBits out;
  for (const QuantizationStep& step : probe.steps()) {
    out.push_back(bits[index.at({step.layer, step.is_weight})]);
  }
  return out;
}

LayerBitsTable to_table(const AllocationProblem& problem, const std::vector<int>& bits) {
  LayerBitsTable table;
  for (std::size_t i = 0; i < bits.size(); ++i) {
    LayerBits& entry = table[problem.items[i].layer];
    (problem.items[i].is_weight ? entry.weight : entry.activation) = bits[i];
  }
  return table;
}

}  // namespace bitloom::quant
