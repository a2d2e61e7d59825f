#include "bitloom/quant/passes.h"

#include <algorithm>
#include <map>
#include <set>

#include "bitloom/core/error.h"
#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

const std::string kStatic = "static";

bool is_product(const Node& node) { return node.op == "conv2d" || node.op == "linear"; }

bool passes_codes_on(const Node& node) {
  return node.op == "max_pool" || node.op == "flatten" || node.op == "global_avg_pool";
}

// The single reader of a node, or nullptr.
const Node* only_reader(const Graph& graph, const Node& node) {
  const std::vector<std::string> readers = graph.readers(node.name);
  return readers.size() == 1 ? graph.find(readers[0]) : nullptr;
}

bool starts_chain(const Graph& graph, const Node& node);

// True where `node` is fused into the layer that ends at its only reader.
bool is_inside_chain(const Graph& graph, const Node& node) {
  const Node* reader = only_reader(graph, node);
  if (reader == nullptr) return false;
  if (node.op == "conv2d" || node.op == "linear") {
    if (reader->op == "batch_norm") return true;
  }
  if (is_product(node) || node.op == "batch_norm") {
    if (reader->op == "relu") return true;
    return reader->op == "add" && reader->inputs[0] == node.name && starts_chain(graph, node);
  }
  return node.op == "add" && reader->op == "relu";
}

// True where the reals of `node` come straight from a product (and its batch norm).
bool starts_chain(const Graph& graph, const Node& node) {
  if (is_product(node)) return true;
  if (node.op != "batch_norm") return false;
  const Node* source = graph.find(node.inputs[0]);
  return source != nullptr && is_product(*source) && only_reader(graph, *source) == &node;
}

bool ends_chain(const Graph& graph, const Node& node) {
  const bool computes =
      is_product(node) || node.op == "batch_norm" || node.op == "add" || node.op == "relu";
  return computes && !is_inside_chain(graph, node);
}

// The node whose grid a value has: follows pools and flatten back.
const Node* grid_source(const Graph& graph, const Node* node) {
  while (passes_codes_on(*node)) node = graph.find(node->inputs[0]);
  return node;
}

class Inserter {
 public:
  Inserter(const Graph& graph, const QuantOptions& options, const integer::DeviceProfile& profile,
           bool input_is_signed)
      : graph_(graph),
        options_(options),
        profile_(profile),
        input_is_signed_(input_is_signed),
        quantizer_(options.method == "qat" ? options.quantizer : kStatic) {
    choose_ends();
  }

  Graph run() {
    for (const Node& node : graph_.nodes()) {
      if (is_fake_quant(node)) {
        throw ConfigError(ErrorText{node.name, "a float graph", "a fake_quant node",
                                    "start from the float checkpoint"});
      }
      Node copy = node;
      for (std::string& input : copy.inputs) {
        if (const auto it = renamed_.find(input); it != renamed_.end()) input = it->second;
      }
      out_.add(std::move(copy));
      quantize_output(node);
    }
    return std::move(out_);
  }

 private:
  void choose_ends() {
    const Node* first = nullptr;
    const Node* last = nullptr;
    for (const Node& node : graph_.nodes()) {
      if (!is_product(node)) continue;
      if (first == nullptr) first = &node;
      last = &node;
    }
    if (first == nullptr) {
      throw ConfigError("the graph has no conv2d or linear node; nothing to quantize");
    }
    if (options_.first_last_bits == 0) return;
    wide_ = {first->inputs[1], last->inputs[1],
             grid_source(graph_, graph_.find(first->inputs[0]))->name,
             grid_source(graph_, graph_.find(last->inputs[0]))->name};
  }

  int bits_of(const std::string& name, int usual) const {
    return wide_.contains(name) ? options_.first_last_bits : usual;
  }

  void quantize_output(const Node& node) {
    if (node.op == "parameter") {
      if (feeds_weight(node)) add_weight(node);
      return;
    }
    if (node.name == graph_.output().name || !has_activation_grids(options_.method)) return;
    if (node.op == "global_avg_pool") {
      const Node* source = grid_source(graph_, graph_.find(node.inputs[0]));
      const auto shared = renamed_.find(source->name);
      if (shared == renamed_.end()) return;
      Node quantizer = *out_.find(shared->second);
      quantizer.name = cat(node.name, ".q");
      quantizer.inputs = {node.name};
      quantizer.set("share", shared->second);
      append(node.name, std::move(quantizer));
      return;
    }
    const bool is_input = node.op == "input";
    if (is_input || ends_chain(graph_, node)) {
      add_activation(node, is_input ? input_is_signed_ : node.op != "relu");
    }
  }

  bool feeds_weight(const Node& node) const {
    for (const std::string& reader : graph_.readers(node.name)) {
      const Node* product = graph_.find(reader);
      if (is_product(*product) && product->inputs[1] == node.name) return true;
    }
    return false;
  }

  void add_weight(const Node& node) {
    const int bits = bits_of(node.name, options_.weight_bits);
    const std::string kind = weight_quantizer();
    const integer::CodeRange range =
        profile_.weights(bits, options_.narrow_weights || kind == "dorefa");
    Node quantizer{
        .name = cat(node.name, ".q"), .op = "fake_quant", .inputs = {node.name}, .attributes = {}};
    quantizer.set("quantizer", kind);
    describe(quantizer, {integer::DeviceProfile::bits_of(range), true, 0, range});
    quantizer.set(options_.per_channel ? "axis" : "weight", options_.per_channel ? "0" : "1");
    round_while_training(quantizer, kind);
    append(node.name, std::move(quantizer));
  }

  void add_activation(const Node& node, bool carries_sign) {
    const int bits = bits_of(node.name, options_.activation_bits);
    integer::AffineFormat format = profile_.activations(bits, carries_sign);
    Node quantizer{
        .name = cat(node.name, ".q"), .op = "fake_quant", .inputs = {node.name}, .attributes = {}};
    const std::string kind = activation_quantizer(node, carries_sign);
    const bool asymmetric = carries_sign && (options_.asymmetric || kind == "lsq+");
    quantizer.set("quantizer", kind);
    if (asymmetric) {
      format = {bits, false, 1 << (bits - 1), {0, (1 << bits) - 1}};
    }
    describe(quantizer, format);
    if (asymmetric) quantizer.set("asymmetric", "1");
    if (kind == "ema") quantizer.set("decay", cat(options_.ema_decay));
    if (kind == "pact") quantizer.set("alpha_decay", cat(options_.pact_decay));
    round_while_training(quantizer, kind);
    append(node.name, std::move(quantizer));
  }

  std::string weight_quantizer() const {
    if (quantizer_ == "pact") return "dorefa";
    return quantizer_ == "lsq+" ? "lsq" : quantizer_;
  }

  std::string activation_quantizer(const Node& node, bool carries_sign) const {
    // Pixels do not change while training, and a learned or followed scale would need the first
    // convolution's backward-data pass: 11 ms of a lenet5 step on two cores.
    if (node.op == "input") return kStatic;
    // A ReLU's output starts at 0, which is a code without an offset.
    return quantizer_ == "lsq+" && !carries_sign ? "lsq" : quantizer_;
  }

  // Calibration rounds the scales that never move afterwards.
  void round_while_training(Node& quantizer, const std::string& kind) const {
    if (options_.power_of_two && kind != kStatic) quantizer.set("power_of_two", "1");
  }

  static void describe(Node& node, const integer::AffineFormat& format) {
    node.set("bits", cat(format.bits));
    node.set("dtype", format.is_signed ? "s8" : "u8");
    node.set("qmin", cat(format.range.qmin));
    node.set("qmax", cat(format.range.qmax));
    if (format.zero_point != 0) node.set("zero_point", cat(format.zero_point));
  }

  void append(const std::string& source, Node node) {
    renamed_[source] = node.name;
    out_.add(std::move(node));
  }

  const Graph& graph_;
  const QuantOptions& options_;
  const integer::DeviceProfile& profile_;
  bool input_is_signed_;
  std::string quantizer_;
  std::set<std::string> wide_;
  std::map<std::string, std::string> renamed_;  // float node > its fake_quant node
  Graph out_;
};

// Which nodes can carry codes: all candidates, minus those with a reader that needs reals.
class CodeEdges {
 public:
  explicit CodeEdges(const Graph& graph) : graph_(graph) {
    for (const Node& node : graph.nodes()) {
      if (is_fake_quant(node) && !node.has("share")) roots_.insert(node.name);
    }
    spread();
    while (drop_one()) spread();
  }

  bool carries(const std::string& name) const { return carries_.contains(name); }

 private:
  void spread() {
    carries_.clear();
    for (const Node& node : graph_.nodes()) {
      const bool root = roots_.contains(node.name);
      const bool passed =
          (passes_codes_on(node) || is_shared_average(node)) && carries_.contains(node.inputs[0]);
      if (root || passed) carries_.insert(node.name);
    }
  }

  // The fake_quant node behind an average pool of codes is a no-op: codes were rounded there.
  bool is_shared_average(const Node& node) const {
    return is_fake_quant(node) && node.has("share") &&
           graph_.find(node.inputs[0])->op == "global_avg_pool";
  }

  bool understands(const Node& reader, const std::string& value) const {
    if (is_product(reader)) {
      return carries(reader.inputs[0]) && carries(reader.inputs[1]);
    }
    if (reader.op == "add") return reader.inputs[1] == value && !carries(reader.inputs[0]);
    if (reader.op == "global_avg_pool") {
      const Node* next = only_reader(graph_, reader);
      return next != nullptr && is_shared_average(*next);
    }
    return passes_codes_on(reader) || is_shared_average(reader);
  }

  // Removes the root of the first value that a reader cannot take as codes.
  bool drop_one() {
    for (const Node& node : graph_.nodes()) {
      if (!carries(node.name)) continue;
      const std::vector<std::string> readers = graph_.readers(node.name);
      const bool fits = !readers.empty() &&
                        std::all_of(readers.begin(), readers.end(), [&](const std::string& name) {
                          return understands(*graph_.find(name), node.name);
                        });
      if (fits) continue;
      const Node* root = &node;
      while (!roots_.contains(root->name)) root = graph_.find(root->inputs[0]);
      roots_.erase(root->name);
      return true;
    }
    return false;
  }

  const Graph& graph_;
  std::set<std::string> roots_;
  std::set<std::string> carries_;
};

}  // namespace

Graph insert_fake_quant(const Graph& graph, const QuantOptions& options,
                        const integer::DeviceProfile& profile, bool input_is_signed) {
  return Inserter(graph, options, profile, input_is_signed).run();
}

Graph strip_fake_quant(const Graph& graph) {
  Graph out;
  std::map<std::string, std::string> renamed;
  for (const Node& node : graph.nodes()) {
    const auto source = [&](const std::string& name) {
      const auto it = renamed.find(name);
      return it == renamed.end() ? name : it->second;
    };
    if (is_fake_quant(node)) {
      renamed[node.name] = source(node.inputs[0]);
      continue;
    }
    Node copy = node;
    for (std::string& input : copy.inputs) input = source(input);
    out.add(std::move(copy));
  }
  return out;
}

Graph use_integer_forward(const Graph& graph) {
  const CodeEdges codes(graph);
  Graph out;
  std::map<std::string, std::string> renamed;
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    for (std::string& input : copy.inputs) {
      if (const auto it = renamed.find(input); it != renamed.end()) input = it->second;
    }
    const bool carries = codes.carries(node.name);
    if (is_fake_quant(node) && carries && node.has("share")) {
      renamed[node.name] = copy.inputs[0];
      continue;
    }
    if (is_fake_quant(node) && carries) {
      copy.set("output", "codes");
    } else if (is_product(node) && codes.carries(node.inputs[0]) && codes.carries(node.inputs[1])) {
      copy.op = cat("quantized_", node.op);
    } else if (node.op == "add" && codes.carries(node.inputs[1])) {
      copy.op = "quantized_add";
    }
    out.add(std::move(copy));
  }
  return out;
}

}  // namespace bitloom::quant
