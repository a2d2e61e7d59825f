// The passes that choose what training runs; their text is in quant/passes.h.
#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <set>

#include "activation_grid.h"
#include "bitloom/core/error.h"
#include "bitloom/quant/chain.h"
#include "bitloom/quant/passes.h"
#include "carried_signs.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// In the order in which a chain may hold them.
enum Step : std::uint8_t { kNorm, kAdd, kRectifier, kClip, kGrid, kSteps };

Step step_of(const Node& node) {
  if (node.op == "batch_norm") return kNorm;
  if (node.op == "add" || node.op == "quantized_add") return kAdd;
  if (node.op == "prelu" || node.op == "rprelu") return kRectifier;
  if (is_clip(node)) return kClip;
  return fits_fused_chain(node) ? kGrid : kSteps;
}

// Nodes that become one; nullptr where absent.
struct Run {
  std::array<const Node*, kSteps> steps{};
  const Node* first = nullptr;
  const Node* last = nullptr;
  int count = 0;

  void take(Step step, const Node& node) {
    steps[step] = &node;
    if (first == nullptr) first = &node;
    last = &node;
    ++count;
  }
};

// A rectifier, a clip or a grid has no shortcut; an add takes the chain as its first input. A
// rectifier stands behind a norm, and last.
bool continues(const Run& run, Step step, const Node& next) {
  const Node& value = *run.last;
  if (run.steps[kRectifier] != nullptr) return false;
  if (step == kRectifier && run.steps[kNorm] == nullptr) return false;
  return next.inputs[0] == value.name && (next.inputs.size() == 1 || next.inputs[1] != value.name);
}

Run run_from(const Graph& graph, const Node& start) {
  Run run;
  Step at = step_of(start);
  run.take(at, start);
  while (const Node* next = only_reader(graph, *run.last)) {
    const Step step = step_of(*next);
    if (step == kSteps || step <= at || !continues(run, step, *next)) break;
    run.take(step, *next);
    at = step;
  }
  return run;
}

void describe_norm(const Node& norm, Node& fused) {
  fused.set("norm", norm.name);
  for (const char* key : {"epsilon", "momentum"}) {
    if (norm.has(key)) fused.set(key, norm.word(key, ""));
  }
  if (norm.has("frozen")) fused.set("norm_frozen", norm.word("frozen", ""));
}

void describe_clip(const Node& clip, Node& fused) {
  fused.set("low", clip.op == "hardtanh" ? clip.word("low", "-1") : "0");
  if (clip.op == "relu6") fused.set("high", "6");
  if (clip.op == "hardtanh") fused.set("high", clip.word("high", "1"));
}

Node fused_node(const Run& run) {
  Node fused{.name = run.last->name,
             .op = run.steps[kGrid] != nullptr ? "fused_quant" : "fused",
             .inputs = {run.first->inputs[0]},
             .attributes = {}};
  if (const Node* add = run.steps[kAdd]) fused.inputs.push_back(add->inputs[1]);
  if (const Node* norm = run.steps[kNorm]) describe_norm(*norm, fused);
  if (const Node* rectifier = run.steps[kRectifier]) fused.set("rectifier", rectifier->op);
  if (const Node* clip = run.steps[kClip]) describe_clip(*clip, fused);
  if (const Node* grid = run.steps[kGrid]) {
    fused.attributes.insert(fused.attributes.end(), grid->attributes.begin(),
                            grid->attributes.end());
  }
  return fused;
}

bool normalizes(const Node& node) {
  return node.op == "batch_norm" ||
         ((node.op == "fused" || node.op == "fused_quant") && node.has("norm"));
}

// Whether a chain writes the signs of its reals beside them: others read the reals too.
bool carries_signs(const Graph& graph, const Node& chain) {
  return normalizes(chain) && chain.op != "fused_quant" && !chain.has("low") &&
         !chain.has("high") && graph.readers(chain.name).size() > 1;
}

// Products with weights of few levels may leave sums to a chain that alone reads them and
// normalizes.
void leave_sums(const Graph& graph, Node& node) {
  if (node.op != "quantized_conv2d" && node.op != "quantized_linear") return;
  const Node& weight = *graph.find(node.inputs[1]);
  if (!is_fake_quant(weight) || format_of(weight).grid == integer::Grid::kAffine) return;
  const Node* reader = only_reader(graph, node);
  if (reader == nullptr || !normalizes(*reader) || reader->inputs[0] != node.name) return;
  node.set("sums", "1");
}

// The signs behind such chains, the first of each.
// A concat of one average with itself, which it alone reads: that average, repeated.
Graph repeat_averages(const Graph& graph) {
  std::map<std::string, Node> replaced;  // concat > what stands for it
  std::set<std::string> dropped;         // averages
  for (const Node& node : graph.nodes()) {
    if (node.op != "concat") continue;
    const Node& pool = *graph.find(node.inputs[0]);
    const bool one = std::ranges::count(node.inputs, pool.name) == std::ssize(node.inputs);
    if (!one || pool.op != "avg_pool" || only_reader(graph, pool) != &node) continue;
    Node repeated = pool;
    repeated.name = node.name;
    repeated.set("repeat", std::to_string(std::ssize(node.inputs)));
    replaced.emplace(node.name, repeated);
    dropped.insert(pool.name);
  }
  Graph out;
  for (const Node& node : graph.nodes()) {
    if (dropped.contains(node.name)) continue;
    const auto found = replaced.find(node.name);
    out.add(found == replaced.end() ? node : found->second);
  }
  return out;
}

Graph carry_signs_and_sums(const Graph& graph) {
  Graph out;
  std::set<std::string> carriers;
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    if (fits_carried_signs(node) && carries_signs(graph, *graph.find(node.inputs[0])) &&
        carriers.insert(node.inputs[0]).second) {
      copy.op = "carried_signs";
    }
    leave_sums(graph, copy);
    out.add(std::move(copy));
  }
  return out;
}

}  // namespace

Graph fuse_chains(const Graph& graph) {
  std::set<const Node*> inside;          // nodes of a run but its last
  std::map<const Node*, Node> replaced;  // last node of a run > what stands for the run
  std::set<std::string> learns;          // values behind which a parameter lies
  for (const Node& node : graph.nodes()) {
    bool trainable = node.op == "parameter";
    for (const std::string& input : node.inputs) trainable |= learns.contains(input);
    if (trainable) learns.insert(node.name);
    // Gamma and beta are declared under the batch norm's name: a network asks a fused node for
    // gradients because of what lies behind its inputs.
    const bool starts =
        trainable && step_of(node) < kGrid && !inside.contains(&node) && !replaced.contains(&node);
    if (!starts) continue;
    const Run run = run_from(graph, node);
    if (run.count < 2) continue;
    for (const Node* step : run.steps) {
      if (step != nullptr && step != run.last) inside.insert(step);
    }
    replaced.emplace(run.last, fused_node(run));
  }
  Graph out;
  for (const Node& node : graph.nodes()) {
    if (inside.contains(&node)) continue;
    const auto found = replaced.find(&node);
    out.add(found == replaced.end() ? node : found->second);
  }
  return carry_signs_and_sums(repeat_averages(out));
}

Graph training_graph(const Graph& graph, std::string_view forward) {
  if (forward == "integer") return fuse_chains(use_integer_forward(graph));
  for (const Node& node : graph.nodes()) {
    if (is_fake_quant(node)) return graph;
  }
  return fuse_chains(graph);
}

}  // namespace bitloom::quant
