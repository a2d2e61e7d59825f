#include "step_profile.h"

#include <algorithm>
#include <numeric>
#include <unordered_map>

#include "bitloom/core/error.h"
#include "lap_mean.h"
#include "model_file.h"
#include "text_table.h"

namespace bitloom::tools {
namespace {

using layers::Edge;
using layers::Node;
using Unit = DirectionWork::Unit;

constexpr double kMega = 1e6;
constexpr double kGiga = 1e9;

bool is_product(const Node& node) {
  return node.op.ends_with("conv2d") || node.op.ends_with("linear");
}

// Their output is their input's memory, or their gradients need no numbers of the forward pass.
bool is_view(const Node& node) { return node.op == "flatten"; }
bool forgets_values(const Node& node) {
  return node.op.ends_with("add") || node.op.ends_with("avg_pool") || node.op == "concat" ||
         node.op == "dropout";
}

double mb_of(const Edge& edge) {
  return static_cast<double>(edge.shape.elements()) * static_cast<double>(size_of(edge.dtype)) /
         kMega;
}
double gradient_mb(const Edge& edge) {
  return static_cast<double>(edge.shape.elements()) *
         static_cast<double>(size_of(edge.gradient_dtype)) / kMega;
}

std::string shape_words(const Shape& shape) {
  std::string text;
  for (int axis = 0; axis < shape.rank(); ++axis) text += cat(axis > 0 ? "x" : "", shape[axis]);
  return text;
}

/// The network's nodes beside their laps.
class Profiler {
 public:
  Profiler(const layers::Network& network, std::span<const LapClock> steps, bool bf16)
      : network_(network),
        nodes_(network.graph().nodes()),
        bf16_(bf16),
        ms_(mean_laps(steps)),
        owner_(owners()) {
    BITLOOM_ASSERT(steps.front().nodes() == nodes_.size());
  }

  StepProfile profile() const {
    StepProfile out;
    out.step_ms = std::accumulate(ms_.begin(), ms_.end(), 0.0);
    for (std::size_t i = 0; i <= nodes_.size(); ++i) add_phases(i, out);
    std::vector<double> preparation_ms(nodes_.size());
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (owner_[i] != i) preparation_ms[owner_[i]] += node_ms(i);
    }
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      if (owner_[i] != i || nodes_[i].op == "input" || nodes_[i].op == "parameter") continue;
      out.layers.push_back(layer(i, preparation_ms[i]));
    }
    return out;
  }

 private:
  double ms(std::size_t node, Lap lap) const {
    return ms_[node * kLaps + static_cast<std::size_t>(lap)];
  }
  double node_ms(std::size_t node) const {
    const auto begin = ms_.begin() + static_cast<std::ptrdiff_t>(node * kLaps);
    return std::accumulate(begin, begin + kLaps, 0.0);
  }
  const Edge& edge(const std::string& name) const { return network_.edge(name); }

  /// For a node that only parameters feed: the first layer behind it; for others the node itself.
  std::vector<std::size_t> owners() const {
    std::unordered_map<std::string, std::size_t> index;
    std::vector<bool> of_weights;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      const std::vector<std::string>& inputs = nodes_[i].inputs;
      of_weights.push_back(nodes_[i].op == "parameter" ||
                           (!inputs.empty() &&
                            std::all_of(inputs.begin(), inputs.end(), [&](const std::string& name) {
                              return of_weights[index.at(name)];
                            })));
      index.emplace(nodes_[i].name, i);
    }
    std::vector<std::size_t> owner(nodes_.size());
    for (std::size_t i = nodes_.size(); i-- > 0;) {
      const std::vector<std::string> readers = network_.graph().readers(nodes_[i].name);
      owner[i] = of_weights[i] && !readers.empty() ? owner[index.at(readers.front())] : i;
    }
    return owner;
  }

  void add_phases(std::size_t i, StepProfile& out) const {
    for (std::size_t at = 0; at < kLaps; ++at) {
      Lap phase = static_cast<Lap>(at);
      if (i < nodes_.size() && owner_[i] != i) {
        phase = Lap::kWeightPreparation;
      } else if (i < nodes_.size() && !is_product(nodes_[i])) {
        phase = Lap::kElementwise;
      }
      out.phase_ms[static_cast<std::size_t>(phase)] += ms(i, static_cast<Lap>(at));
    }
  }

  LayerProfile layer(std::size_t i, double preparation_ms) const {
    const Node& node = nodes_[i];
    LayerProfile out;
    out.layer = node.name;
    out.op = node.op;
    out.output = shape_words(edge(node.name).shape);
    if (is_product(node)) {
      add_product(node, out);
    } else if (!is_view(node)) {
      add_movement(node, out);
    }
    out.forward.ms = ms(i, Lap::kForward);
    out.backward_data.ms = ms(i, Lap::kBackwardData);
    out.backward_weights.ms = ms(i, Lap::kBackwardWeights);
    out.preparation_ms = preparation_ms + ms(i, Lap::kWeightPreparation);
    out.elementwise_ms = ms(i, Lap::kElementwise);
    return out;
  }

  void add_product(const Node& node, LayerProfile& out) const {
    const Edge& source = edge(node.inputs[0]);
    const Edge& weight = edge(node.inputs[1]);
    const Edge& output = edge(node.name);
    const std::int64_t taps = weight.shape.elements() / weight.shape[0];
    const double gflop = 2.0 * static_cast<double>(output.shape.elements() * taps) / kGiga;
    const bool depthwise =
        weight.shape.rank() == 4 && weight.shape[1] == 1 && node.integer("groups", 1) > 1;
    const Unit real = bf16_ && !depthwise ? Unit::kBf16 : Unit::kF32;
    const bool codes = source.dtype != DType::kF32 && weight.dtype != DType::kF32;
    out.forward = {.unit = codes ? Unit::kInt8 : real,
                   .gflop = gflop,
                   .mb = mb_of(source) + mb_of(weight) + mb_of(output)};
    if (source.needs_gradient) {
      out.backward_data = {.unit = real,
                           .gflop = gflop,
                           .mb = gradient_mb(output) + mb_of(weight) + gradient_mb(source)};
    }
    if (weight.needs_gradient) {
      out.backward_weights = {.unit = real,
                              .gflop = gflop,
                              .mb = gradient_mb(output) + mb_of(source) + gradient_mb(weight)};
    }
  }

  void add_movement(const Node& node, LayerProfile& out) const {
    const Edge& output = edge(node.name);
    out.forward.mb = mb_of(output);
    for (const std::string& name : node.inputs) {
      const Edge& input = edge(name);
      out.forward.mb += mb_of(input);
      if (!input.needs_gradient) continue;
      out.backward_data.mb += gradient_mb(input) + (forgets_values(node) ? 0.0 : mb_of(input));
    }
    if (out.backward_data.mb > 0.0) out.backward_data.mb += gradient_mb(output);
  }

  const layers::Network& network_;
  const std::vector<Node>& nodes_;
  bool bf16_;
  std::vector<double> ms_;
  std::vector<std::size_t> owner_;
};

}  // namespace

double LayerProfile::gflop() const {
  return forward.gflop + backward_data.gflop + backward_weights.gflop;
}
double LayerProfile::mb() const { return forward.mb + backward_data.mb + backward_weights.mb; }
double LayerProfile::ms() const {
  return forward.ms + backward_data.ms + backward_weights.ms + preparation_ms + elementwise_ms;
}

Roofline roofline(const LayerProfile& layer, const kernels::MachinePeaks& peaks) {
  const DirectionWork works[] = {layer.forward, layer.backward_data, layer.backward_weights};
  return roofline(works, layer.ms(), peaks);
}

double StepProfile::gflop() const {
  double sum = 0.0;
  for (const LayerProfile& layer : layers) sum += layer.gflop();
  return sum;
}
double StepProfile::mb() const {
  double sum = 0.0;
  for (const LayerProfile& layer : layers) sum += layer.mb();
  return sum;
}

StepProfile profile_of(const layers::Network& network, std::span<const LapClock> steps, bool bf16) {
  return Profiler(network, steps, bf16).profile();
}

nlohmann::json phase_json(const StepProfile& profile) {
  nlohmann::json row = nlohmann::json::object();
  for (std::size_t i = 0; i < kLaps; ++i) {
    row[std::string(to_word(static_cast<Lap>(i)))] = profile.phase_ms[i];
  }
  return row;
}

nlohmann::json layers_json(const StepProfile& profile, const kernels::MachinePeaks& peaks) {
  nlohmann::json rows = nlohmann::json::array();
  for (const LayerProfile& layer : profile.layers) {
    const Roofline roof = roofline(layer, peaks);
    rows.push_back({{"layer", layer.layer},
                    {"op", layer.op},
                    {"output", layer.output},
                    {"gflop", layer.gflop()},
                    {"mb", layer.mb()},
                    {"forward_ms", layer.forward.ms},
                    {"backward_data_ms", layer.backward_data.ms},
                    {"backward_weights_ms", layer.backward_weights.ms},
                    {"preparation_ms", layer.preparation_ms},
                    {"elementwise_ms", layer.elementwise_ms},
                    {"share_of_peak", number_or_null(roof.share)},
                    {"limit", roof.by_compute ? "compute" : "memory"}});
  }
  return rows;
}

std::string phase_table(const StepProfile& profile) {
  TextTable table{{"phase", "ms", "%"}, {}};
  for (std::size_t i = 0; i < kLaps; ++i) {
    std::string words(to_word(static_cast<Lap>(i)));
    std::replace(words.begin(), words.end(), '_', ' ');
    table.rows.push_back({words, fixed(profile.phase_ms[i], 3),
                          fixed(100.0 * profile.phase_ms[i] / profile.step_ms, 1)});
  }
  table.rows.push_back({"step", fixed(profile.step_ms, 3), "100.0"});
  return format_table(table);
}

std::string layer_table(const StepProfile& profile, const kernels::MachinePeaks& peaks) {
  TextTable table{{"layer", "op", "output", "GFLOP", "MB", "forward ms", "back data",
                   "back weights", "prepare", "other", "% of peak", "limit"},
                  {}};
  for (const LayerProfile& layer : profile.layers) {
    const Roofline roof = roofline(layer, peaks);
    table.rows.push_back({layer.layer, layer.op, layer.output, fixed(layer.gflop(), 3),
                          fixed(layer.mb(), 2), fixed(layer.forward.ms, 3),
                          fixed(layer.backward_data.ms, 3), fixed(layer.backward_weights.ms, 3),
                          fixed(layer.preparation_ms, 3), fixed(layer.elementwise_ms, 3),
                          fixed(100.0 * roof.share, 0), roof.by_compute ? "compute" : "memory"});
  }
  return format_table(table) +
         "GFLOP and % of peak are of direct sums: Winograd's kernels multiply less and may pass "
         "100\n";
}

}  // namespace bitloom::tools
