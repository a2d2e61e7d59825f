#include "bitloom/layers/network.h"

#include <algorithm>
#include <unordered_map>

#include "bitloom/core/error.h"
#include "bitloom/kernels/f32_elementwise.h"
#include "memory_plan.h"

namespace bitloom::layers {
namespace {

template <typename Names>
std::string listed(const Names& names) {
  std::string out;
  for (const std::string& name : names) {
    if (!out.empty()) out += ", ";
    out += name;
  }
  return out.empty() ? "none" : out;
}

// The node's row of the registry. @throws ConfigError unless op, inputs and attributes fit it.
const LayerKind& kind_of(const Node& node, const LayerRegistry& registry) {
  const auto found = registry.find(node.op);
  if (found == registry.end()) {
    std::vector<std::string> known;
    for (const auto& [op, kind] : registry) known.push_back(op);
    throw ConfigError({.place = node.name,
                       .expected = "one of the operations " + listed(known),
                       .found = cat("'", node.op, "'"),
                       .remedy = ""});
  }
  const LayerKind& kind = found->second;
  const int given = static_cast<int>(node.inputs.size());
  if (given < kind.inputs || (given > kind.inputs && !kind.takes_more_inputs)) {
    const char* least = kind.takes_more_inputs ? "at least " : "";
    throw ConfigError({.place = node.name,
                       .expected = cat(least, kind.inputs, " input(s) of ", node.op),
                       .found = std::to_string(node.inputs.size()),
                       .remedy = ""});
  }
  for (const auto& [key, value] : node.attributes) {
    if (std::ranges::find(kind.attributes, key) != kind.attributes.end()) continue;
    throw ConfigError(
        {.place = node.name,
         .expected = cat("attributes of ", node.op, " (", listed(kind.attributes), ")"),
         .found = cat("'", key, "'"),
         .remedy = ""});
  }
  return kind;
}

// True if the layer declared a trainable parameter of its own ("bn1.gamma" of bn1).
bool declared_trainable(const ParameterStore& store, const std::string& node) {
  const std::string prefix = node + ".";
  const auto& all = store.all();
  for (auto at = all.lower_bound(prefix); at != all.end() && at->first.starts_with(prefix); ++at) {
    const bool own = at->first.find('.', prefix.size()) == std::string::npos;
    if (own && is_trainable(at->second.role)) return true;
  }
  return false;
}

}  // namespace

class Network::Impl {
 public:
  Impl(const Graph& graph, const LayerRegistry& registry, ParameterStore& store,
       const NetworkOptions& options)
      : graph_(graph), options_(options) {
    for (const Node& node : graph_.nodes()) add(node, registry, store);
    if (input_ < 0) {
      throw ConfigError({.place = "graph",
                         .expected = "one input node",
                         .found = "none",
                         .remedy = "add input = input(shape=CxHxW)"});
    }
    plan();
  }

  ConstTensorView forward(ConstTensorView images, Phase phase, LapClock* clock, const Watch* watch);
  void backward(ConstTensorView output_gradient, LapClock* clock);

  struct Slot {
    std::string name;
    std::unique_ptr<Layer> layer;
    Edge edge;
    LayerMemory memory;
    std::vector<int> inputs;
    bool needs_gradient = false;
    int carried = -1;  // index of the reader that this layer carries

    TensorView value;  // of the input node: set by forward
    TensorView gradient;
    TensorView second_gradient;
    bool gradient_in_terms = false;
    NodePlacement placement;
    std::byte* saved = nullptr;
    std::byte* forward_scratch = nullptr;
    std::byte* backward_scratch = nullptr;
    // Arguments of the calls, kept so that a step allocates nothing.
    std::vector<ConstTensorView> input_values;
    std::vector<ConstTensorView> backward_inputs;
    std::vector<TensorView> input_gradients;
  };

  const Slot& at(const std::string& name) const {
    const auto found = index_.find(name);
    if (found != index_.end()) return slot(found->second);
    throw ConfigError({.place = "network",
                       .expected = "a node of the graph",
                       .found = cat("'", name, "'"),
                       .remedy = ""});
  }
  const Graph& graph() const { return graph_; }
  const NetworkOptions& options() const { return options_; }
  std::size_t memory_bytes() const { return arena_.bytes(); }

 private:
  void add(const Node& node, const LayerRegistry& registry, ParameterStore& store);
  void plan();
  void choose_gradients();
  void bind(Slot& slot);
  bool reads_input(const Slot& slot, std::size_t position) const {
    const auto& reads = slot.memory.backward_reads_input;
    return position < reads.size() && reads[position];
  }

  Slot& slot(int index) { return slots_[static_cast<std::size_t>(index)]; }
  const Slot& slot(int index) const { return slots_[static_cast<std::size_t>(index)]; }
  std::byte* arena_at(std::size_t offset) { return static_cast<std::byte*>(arena_.raw()) + offset; }

  Graph graph_;
  NetworkOptions options_;
  std::vector<Slot> slots_;
  std::unordered_map<std::string, int> index_;
  int input_ = -1;
  std::vector<int> shows_images_;  // the input node and what shares its memory
  Tensor arena_;
};

void Network::Impl::add(const Node& node, const LayerRegistry& registry, ParameterStore& store) {
  const LayerKind& kind = kind_of(node, registry);
  Slot made;
  made.name = node.name;
  std::vector<Edge> inputs;
  for (const std::string& input : node.inputs) {
    made.inputs.push_back(index_.at(input));
    const Slot& from = slot(made.inputs.back());
    inputs.push_back(from.edge);
    inputs.back().needs_gradient = from.needs_gradient;
    made.needs_gradient |= from.needs_gradient;
  }
  made.layer =
      kind.make({node, inputs, store, options_.batch, options_.training, options_.precision});
  made.edge = made.layer->output();
  made.memory = made.layer->memory();
  const Parameter* parameter = made.layer->parameter();
  made.needs_gradient |=
      parameter != nullptr ? is_trainable(parameter->role) : declared_trainable(store, node.name);
  made.edge.needs_gradient = made.needs_gradient;
  const int index = static_cast<int>(slots_.size());
  if (made.memory.carried) {
    Slot& carrier = slot(made.inputs[0]);
    carrier.layer->carry(*made.layer);
    carrier.memory = carrier.layer->memory();
    carrier.carried = index;
  }
  if (node.op == "input") {
    if (input_ >= 0) {
      throw ConfigError({.place = node.name,
                         .expected = "one input node",
                         .found = "a second one after " + slot(input_).name,
                         .remedy = ""});
    }
    input_ = index;
  }
  index_.emplace(node.name, index);
  slots_.push_back(std::move(made));
}

// bf16 where both sides of an edge can, in two terms where two layers contribute.
void Network::Impl::choose_gradients() {
  std::vector<int> contributions(slots_.size());
  std::vector<bool> all_write(slots_.size(), true);
  for (const Slot& reader : slots_) {
    if (!reader.needs_gradient || reader.memory.carried) continue;
    for (std::size_t k = 0; k < reader.inputs.size(); ++k) {
      const auto input = static_cast<std::size_t>(reader.inputs[k]);
      const auto& writes = reader.memory.backward_writes_bf16;
      ++contributions[input];
      if (k >= writes.size() || !writes[k]) all_write[input] = false;
    }
  }
  for (std::size_t i = 0; i + 1 < slots_.size(); ++i) {
    Slot& now = slots_[i];
    const int most = now.memory.backward_reads_terms ? 2 : 1;
    if (!now.memory.backward_reads_bf16 || !all_write[i] || contributions[i] > most) continue;
    now.edge.gradient_dtype = DType::kBf16;
    now.gradient_in_terms = contributions[i] == 2;
  }
}

void Network::Impl::plan() {
  choose_gradients();
  std::vector<PlanNode> nodes;
  for (Slot& from : slots_) {
    const bool is_input = &from == &slot(input_);
    const bool is_parameter = from.layer->parameter() != nullptr;
    const auto elements = static_cast<std::size_t>(from.edge.shape.elements());
    nodes.push_back({.inputs = from.inputs,
                     .value_bytes = elements * size_of(from.edge.dtype),
                     .gradient_bytes = elements * size_of(from.edge.gradient_dtype),
                     .gradient_in_terms = from.gradient_in_terms,
                     .memory = from.memory,
                     .external_value = is_input || is_parameter,
                     .external_gradient = is_parameter,
                     .needs_gradient = from.needs_gradient});
  }
  MemoryPlan memory = plan_memory(nodes, options_.training, options_.keep_all_tensors);
  arena_ = Tensor(DType::kU8, Shape{static_cast<std::int64_t>(memory.total)});
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    slots_[i].placement = std::move(memory.nodes[i]);
    if (slots_[i].placement.value_owner == input_) shows_images_.push_back(static_cast<int>(i));
    bind(slots_[i]);
  }
}

void Network::Impl::bind(Slot& to) {
  const NodePlacement& place = to.placement;
  const Shape& shape = to.edge.shape;
  if (Parameter* parameter = slot(place.value_owner).layer->parameter()) {
    to.value = TensorView(to.edge.dtype, shape, parameter->value.raw());
  } else if (place.value != NodePlacement::kElsewhere) {
    to.value = TensorView(to.edge.dtype, shape, arena_at(place.value));
  }
  if (Parameter* parameter = to.layer->parameter(); parameter != nullptr && place.runs_backward) {
    to.gradient = parameter->gradient;
  } else if (place.gradient != NodePlacement::kElsewhere) {
    to.gradient = TensorView(to.edge.gradient_dtype, shape, arena_at(place.gradient));
  }
  if (place.second_gradient != NodePlacement::kElsewhere) {
    to.second_gradient = TensorView(to.edge.gradient_dtype, shape, arena_at(place.second_gradient));
  }
  to.saved = arena_at(place.saved);
  to.forward_scratch = arena_at(place.forward_scratch);
  to.backward_scratch = arena_at(place.backward_scratch);
  to.input_values.resize(to.inputs.size());
  to.backward_inputs.resize(to.inputs.size());
  to.input_gradients.resize(to.inputs.size());
  if (!place.runs_backward || to.memory.carried) return;
  for (std::size_t k = 0; k < to.inputs.size(); ++k) {
    const Slot& input = slot(to.inputs[k]);
    if (place.summand[k] != NodePlacement::kElsewhere) {
      to.input_gradients[k] = TensorView(DType::kF32, input.edge.shape, arena_at(place.summand[k]));
    } else if (place.writes_second[k]) {
      to.input_gradients[k] = TensorView(input.edge.gradient_dtype, input.edge.shape,
                                         arena_at(slot(to.inputs[k]).placement.second_gradient));
    } else {
      to.input_gradients[k] = input.gradient;  // empty where nobody needs it
    }
  }
  if (place.passes_gradient) to.input_gradients[1] = TensorView();
}

ConstTensorView Network::Impl::forward(ConstTensorView images, Phase phase, LapClock* clock,
                                       const Watch* watch) {
  const Edge& expected = slot(input_).edge;
  if (images.shape() != expected.shape || images.dtype() != expected.dtype) {
    throw ShapeError(
        {.place = slot(input_).name,
         .expected = cat("images ", to_word(expected.dtype), " ", to_string(expected.shape)),
         .found = cat(to_word(images.dtype()), " ", to_string(images.shape())),
         .remedy = ""});
  }
  // Layers only read their inputs, so the images are safe behind a writable view.
  for (const int i : shows_images_) {
    slot(i).value = TensorView(images.dtype(), slot(i).edge.shape, const_cast<void*>(images.raw()));
  }
  for (std::size_t i = 0; i < slots_.size(); ++i) {
    Slot& now = slots_[i];
    if (clock != nullptr) clock->enter(i);
    for (std::size_t k = 0; k < now.inputs.size(); ++k) {
      now.input_values[k] = slot(now.inputs[k]).value;
    }
    if (!now.memory.carried) {
      now.layer->forward({.phase = phase,
                          .inputs = now.input_values,
                          .output = now.value,
                          .saved = now.saved,
                          .scratch = now.forward_scratch,
                          .clock = clock,
                          .carried = now.carried < 0 ? TensorView() : slot(now.carried).value});
    }
    lap(clock, Lap::kForward);
    if (watch != nullptr && now.layer->parameter() == nullptr) (*watch)(now.name, now.value);
  }
  if (clock != nullptr) clock->leave();
  return slots_.back().value;
}

void Network::Impl::backward(ConstTensorView output_gradient, LapClock* clock) {
  BITLOOM_ASSERT(options_.training);
  const Slot& output = slots_.back();
  if (output_gradient.shape() != output.edge.shape || output_gradient.dtype() != DType::kF32) {
    throw ShapeError(
        {.place = output.name,
         .expected = "a gradient f32 " + to_string(output.edge.shape),
         .found = cat(to_word(output_gradient.dtype()), " ", to_string(output_gradient.shape())),
         .remedy = ""});
  }
  for (std::size_t i = slots_.size(); i-- > 0;) {
    Slot& now = slots_[i];
    if (!now.placement.runs_backward || now.layer->parameter() != nullptr) continue;
    if (now.memory.carried) continue;
    if (clock != nullptr) clock->enter(i);
    for (std::size_t k = 0; k < now.inputs.size(); ++k) {
      now.backward_inputs[k] =
          reads_input(now, k) ? ConstTensorView(slot(now.inputs[k]).value) : ConstTensorView();
    }
    const bool is_output = &now == &output;
    now.layer->backward(
        {.inputs = now.backward_inputs,
         .output =
             now.memory.backward_reads_output ? ConstTensorView(now.value) : ConstTensorView(),
         .output_gradient = is_output ? output_gradient : ConstTensorView(now.gradient),
         .second_gradient = now.second_gradient,
         .input_gradients = now.input_gradients,
         .adds = now.placement.adds,
         .saved = now.saved,
         .scratch = now.backward_scratch,
         .clock = clock,
         .carried_gradient =
             now.carried < 0 ? ConstTensorView() : ConstTensorView(slot(now.carried).gradient)});
    lap(clock, Lap::kBackwardData);
    for (std::size_t k = 0; k < now.inputs.size(); ++k) {
      if (now.placement.summand[k] == NodePlacement::kElsewhere) continue;
      const TensorView& sum = slot(now.inputs[k]).gradient;
      kernels::add(sum, now.input_gradients[k], sum);
      lap(clock, Lap::kElementwise);
    }
  }
  if (clock != nullptr) clock->leave();
}

Network::Network(const Graph& graph, const LayerRegistry& registry, ParameterStore& store,
                 const NetworkOptions& options)
    : impl_(std::make_unique<Impl>(graph, registry, store, options)) {}
Network::~Network() = default;
Network::Network(Network&&) noexcept = default;
Network& Network::operator=(Network&&) noexcept = default;

ConstTensorView Network::forward(ConstTensorView images, Phase phase, LapClock* clock) {
  return impl_->forward(images, phase, clock, nullptr);
}

ConstTensorView Network::forward(ConstTensorView images, Phase phase, const Watch& watch) {
  return impl_->forward(images, phase, nullptr, &watch);
}

void Network::backward(ConstTensorView output_gradient, LapClock* clock) {
  impl_->backward(output_gradient, clock);
}

const Edge& Network::edge(const std::string& node) const { return impl_->at(node).edge; }

ConstTensorView Network::tensor(const std::string& node) const {
  const auto& found = impl_->at(node);
  if (!impl_->options().keep_all_tensors && found.layer->parameter() == nullptr) {
    throw ConfigError({.place = node,
                       .expected = "a network that keeps all tensors",
                       .found = "one that shares their memory",
                       .remedy = "set NetworkOptions::keep_all_tensors"});
  }
  return found.value;
}

Layer& Network::layer(const std::string& node) { return *impl_->at(node).layer; }

const Graph& Network::graph() const { return impl_->graph(); }

std::size_t Network::memory_bytes() const { return impl_->memory_bytes(); }

}  // namespace bitloom::layers
