#include "bitloom/quant/equalize.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/quant/quantizer.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

constexpr int kMostSweeps = 50;
constexpr double kSettled = 1e-3;

// Commutes with a positive factor per channel.
bool passes_scale(const Node& node) {
  static const std::set<std::string> ops{"relu",    "max_pool", "avg_pool", "global_avg_pool",
                                         "flatten", "dropout"};
  return ops.contains(node.op);
}

// A weight seen as output rows of `columns` values, of which each belongs to an input channel.
class Weight {
 public:
  Weight(const Node& product, ParameterStore& store)
      : values_(store.at(product.inputs[1]).value.span<float>()),
        rows_(store.at(product.inputs[1]).value.shape()[0]),
        inner_(store.at(product.inputs[1]).value.shape()[1]),
        rows_per_group_(rows_ / product.integer("groups", 1)),
        is_linear_(product.op == "linear") {
    for (const float value : values_) {
      if (std::isfinite(value)) continue;
      throw NumericError(ErrorText{product.inputs[1], "finite values", cat(value),
                                   "check the checkpoint with `bitloom inspect`"});
    }
  }

  std::int64_t rows() const { return rows_; }
  std::span<float> row(std::int64_t index) {
    const std::size_t columns = values_.size() / static_cast<std::size_t>(rows_);
    return values_.subspan(static_cast<std::size_t>(index) * columns, columns);
  }
  double row_range(std::int64_t index) {
    double most = 0.0;
    for (const float value : row(index)) most = std::max(most, std::abs(double{value}));
    return most;
  }

  // Calls use(value, input channel) for all values; a flattened map keeps channels innermost.
  template <typename Use>
  void for_each(std::int64_t channels, const Use& use) {
    for (std::int64_t o = 0; o < rows_; ++o) {
      const std::int64_t first = is_linear_ ? 0 : o / rows_per_group_ * inner_;
      std::int64_t column = 0;
      for (float& value : row(o)) {
        use(value, is_linear_ ? column % channels : first + column % inner_);
        ++column;
      }
    }
  }
  // Whether for_each(channels) meets exactly the channels that a source of `channels` has.
  bool reads(std::int64_t channels) const {
    return is_linear_ ? inner_ % channels == 0 : rows_ / rows_per_group_ * inner_ == channels;
  }

 private:
  std::span<float> values_;
  std::int64_t rows_;
  std::int64_t inner_;
  std::int64_t rows_per_group_;
  bool is_linear_;
};

struct BatchNorm {
  BatchNorm(const Node& node, ParameterStore& store)
      : epsilon(node.real("epsilon", 1e-5)),
        gamma(values(node, store, ".gamma")),
        beta(values(node, store, ".beta")),
        mean(values(node, store, ".running_mean")),
        variance(values(node, store, ".running_var")) {}

  static float* values(const Node& node, ParameterStore& store, const char* word) {
    return store.at(node.name + word).value.data<float>();
  }
  double deviation(std::int64_t o) const { return std::sqrt(double{variance[o]} + epsilon); }
  double slope(std::int64_t o) const { return double{gamma[o]} / deviation(o); }

  // Follows a weight row that was multiplied by `factor`; the output stays.
  void follow(std::int64_t o, double factor) {
    const double before = deviation(o);
    mean[o] = static_cast<float>(double{mean[o]} * factor);
    variance[o] = static_cast<float>(double{variance[o]} * factor * factor);
    gamma[o] = static_cast<float>(double{gamma[o]} * deviation(o) / (factor * before));
  }

  double epsilon;
  float* gamma;
  float* beta;
  float* mean;
  float* variance;
};

struct Pair {
  const Node* first;
  const Node* batch_norm;  // behind first, or nullptr
  const Node* second;
};

std::vector<Pair> pairs_of(const Graph& graph, ParameterStore& store) {
  std::vector<Pair> pairs;
  for (const Node& node : graph.nodes()) {
    if (is_fake_quant(node)) {
      throw ConfigError(ErrorText{node.name, "a float graph to equalize", "a fake_quant node",
                                  "start from the float checkpoint"});
    }
    if (!is_product(node)) continue;
    const Node* batch_norm = batch_norm_behind(graph, node);
    const Node* end = only_reader(graph, batch_norm != nullptr ? *batch_norm : node);
    while (end != nullptr && passes_scale(*end)) end = only_reader(graph, *end);
    if (end == nullptr || !is_product(*end)) continue;
    const bool own_weights =
        graph.readers(node.inputs[1]).size() == 1 && graph.readers(end->inputs[1]).size() == 1;
    if (own_weights && Weight(*end, store).reads(Weight(node, store).rows())) {
      pairs.push_back({&node, batch_norm, end});
    }
  }
  return pairs;
}

void divide_channel(const Pair& pair, ParameterStore& store, Weight& weight, std::int64_t channel,
                    double by) {
  const auto divide = [by](float& value) { value = static_cast<float>(double{value} / by); };
  if (pair.batch_norm != nullptr) {
    const BatchNorm norm(*pair.batch_norm, store);
    divide(norm.gamma[channel]);
    divide(norm.beta[channel]);
    return;
  }
  for (float& value : weight.row(channel)) divide(value);
  if (const std::string bias = pair.first->name + ".bias"; store.has(bias)) {
    divide(store.at(bias).value.data<float>()[channel]);
  }
}

// Returns the largest |log s| of a channel.
double equalize_pair(const Pair& pair, ParameterStore& store) {
  Weight first(*pair.first, store);
  Weight second(*pair.second, store);
  const std::int64_t channels = first.rows();
  std::vector<double> read(static_cast<std::size_t>(channels), 0.0);
  second.for_each(channels, [&](float value, std::int64_t channel) {
    double& most = read[static_cast<std::size_t>(channel)];
    most = std::max(most, std::abs(double{value}));
  });
  std::vector<double> factors(static_cast<std::size_t>(channels), 1.0);
  double moved = 0.0;
  for (std::int64_t i = 0; i < channels; ++i) {
    double written = first.row_range(i);
    if (pair.batch_norm != nullptr) {
      written *= std::abs(BatchNorm(*pair.batch_norm, store).slope(i));
    }
    const double reading = read[static_cast<std::size_t>(i)];
    if (!(written > 0.0) || !(reading > 0.0)) continue;
    const double factor = std::sqrt(written * reading) / reading;
    divide_channel(pair, store, first, i, factor);
    factors[static_cast<std::size_t>(i)] = factor;
    moved = std::max(moved, std::abs(std::log(factor)));
  }
  second.for_each(channels, [&](float& value, std::int64_t channel) {
    value = static_cast<float>(double{value} * factors[static_cast<std::size_t>(channel)]);
  });
  return moved;
}

void balance_rows(const Node& product, const Node& batch_norm, ParameterStore& store) {
  Weight weight(product, store);
  BatchNorm norm(batch_norm, store);
  std::vector<double> ranges;
  for (std::int64_t o = 0; o < weight.rows(); ++o) ranges.push_back(weight.row_range(o));
  const double largest = *std::max_element(ranges.begin(), ranges.end());
  const std::string bias = product.name + ".bias";
  for (std::int64_t o = 0; o < weight.rows(); ++o) {
    const double range = ranges[static_cast<std::size_t>(o)];
    if (!(range > 0.0) || range == largest) continue;
    const double factor = largest / range;
    for (float& value : weight.row(o)) value = static_cast<float>(double{value} * factor);
    // A bias of the product lies before batch norm and grows with the row.
    if (store.has(bias)) {
      float& value = store.at(bias).value.data<float>()[o];
      value = static_cast<float>(double{value} * factor);
    }
    norm.follow(o, factor);
  }
}

struct Balanced {
  const Node* product;
  const Node* batch_norm;
};

std::vector<Balanced> balanced_of(const Graph& graph) {
  std::vector<Balanced> balanced;
  for (const Node& node : graph.nodes()) {
    if (!is_product(node) || graph.readers(node.inputs[1]).size() != 1) continue;
    const Node* batch_norm = batch_norm_behind(graph, node);
    if (batch_norm != nullptr) balanced.push_back({&node, batch_norm});
  }
  return balanced;
}

}  // namespace

Equalization equalize(const Graph& graph, ParameterStore& store) {
  const std::vector<Pair> pairs = pairs_of(graph, store);
  const std::vector<Balanced> balanced = balanced_of(graph);
  Equalization done{.pairs = static_cast<int>(pairs.size()),
                    .balanced = static_cast<int>(balanced.size())};
  double moved = 1.0;
  while (moved > kSettled && done.sweeps < kMostSweeps) {
    moved = 0.0;
    for (const auto& [product, batch_norm] : balanced) balance_rows(*product, *batch_norm, store);
    for (const Pair& pair : pairs) moved = std::max(moved, equalize_pair(pair, store));
    ++done.sweeps;
  }
  for (const auto& [product, batch_norm] : balanced) balance_rows(*product, *batch_norm, store);
  return done;
}

}  // namespace bitloom::quant
