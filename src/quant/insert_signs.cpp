#include "insert_signs.h"

#include <algorithm>
#include <map>
#include <set>
#include <vector>

#include "bitloom/core/error.h"
#include "bitloom/layers/window.h"
#include "bitloom/quant/chain.h"
#include "subgraph.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;

// hardtanh with its own bounds: what a sign stands in for.
bool is_unit_hardtanh(const Node& node) { return node.op == "hardtanh" && node.attributes.empty(); }

// What a product reads: kRealBits, 1 (signs), or the width of codes by rounding.
struct Source {
  const Node* value = nullptr;  // where the quantizer stands
  int bits = kRealBits;
};

class SignInserter {
 public:
  SignInserter(const Graph& graph, const QuantOptions& options, const QuantizerNodes& nodes,
               bool input_is_signed)
      : graph_(graph), options_(options), nodes_(nodes), input_is_signed_(input_is_signed) {
    for (const Node& node : graph_.nodes()) {
      if (is_product(node)) products_.push_back(&node);
    }
    if (products_.empty()) {
      throw ConfigError("the graph has no conv2d or linear node; nothing to quantize");
    }
    for (const Node* product : products_) choose_source(*product);
  }

  Graph run() {
    for (const Node& node : graph_.nodes()) {
      if (replaced(node)) {
        add_source(node);
        continue;
      }
      Node copy = node;
      for (std::size_t i = 0; i < copy.inputs.size(); ++i) {
        copy.inputs[i] = input_of(node, node.inputs[i]);
      }
      out_.add(std::move(copy));
      if (sources_.contains(node.name)) add_source(node);
      if (weights_.contains(node.name)) add_weight(node);
      if (scaled(node)) scale(node);
    }
    return std::move(out_);
  }

 private:
  bool is_end(const Node& product) const {
    return options_.first_last_bits != 0 &&
           (&product == products_.front() || &product == products_.back());
  }

  // Of a product that computes with signs and asks for the map of its input's magnitudes.
  bool scaled(const Node& node) const {
    return is_product(node) && !is_end(node) && nodes_.method()->scales_rows;
  }

  // Where the quantizer of what a product reads stands: in front of pools and flatten that nothing
  // else reads. K maps need the real value itself.
  const Node* place_of(const Node& product) const {
    const Node* value = graph_.find(product.inputs[0]);
    const auto passes = [&](const Node& node) {
      return node.op == "flatten" || node.op == "dropout" || node.op == "max_pool";
    };
    while (!scaled(product) && passes(*value)) {
      const Node* before = graph_.find(value->inputs[0]);
      if (only_reader(graph_, *before) != value) break;
      value = before;
    }
    return value;
  }

  void choose_source(const Node& product) {
    const int bits = is_end(product) ? options_.first_last_bits : 1;
    weights_[product.inputs[1]] = is_end(product) ? bits : 0;
    if (bits == kRealBits) return;
    const Node* value = place_of(product);
    if (bits == 1) require_both_signs(product, *value);
    const auto [known, fresh] = sources_.try_emplace(value->name, Source{value, bits});
    if (!fresh && known->second.bits != bits) {
      throw ConfigError(
          ErrorText{product.name, cat("a source of ", bits, " bits"),
                    cat(value->name, ", which others read with ", known->second.bits, " bits"),
                    "set quant.first_last_bits = 0 or 32"});
    }
    for (const Node* node = graph_.find(product.inputs[0]); node != value;
         node = graph_.find(node->inputs[0])) {
      on_the_way_.insert(node->name);
    }
  }

  void require_both_signs(const Node& product, const Node& value) const {
    const Node* from = &value;
    while (keeps_grid(*from)) from = graph_.find(from->inputs[0]);
    const bool positive = (from->op == "input" && !input_is_signed_) ||
                          (is_clip(*from) && clip_of(*from).low >= 0.0F);
    if (!positive) return;
    throw ConfigError(ErrorText{
        product.name, "an input of both signs to take signs of", cat(from->op, " ", from->name),
        "take a network in binary block order: mlp_bnn, lenet5_binary, vgg_small_xnor, "
        "resnet20_bireal"});
  }

  // True for a hardtanh whose every reader wants its sign: the quantizer takes its place.
  bool replaced(const Node& node) const {
    const auto source = sources_.find(node.name);
    if (source == sources_.end() || source->second.bits != 1 || !is_unit_hardtanh(node)) {
      return false;
    }
    const std::vector<std::string> readers = graph_.readers(node.name);
    return std::all_of(readers.begin(), readers.end(), [&](const std::string& reader) {
      return reads_codes(*graph_.find(reader), node.name);
    });
  }

  bool reads_codes(const Node& reader, const std::string& value) const {
    const bool product = is_product(reader) && reader.inputs[0] == value &&
                         !(is_end(reader) && options_.first_last_bits == kRealBits);
    return product || on_the_way_.contains(reader.name);
  }

  std::string input_of(const Node& reader, const std::string& value) const {
    if (const auto weight = renamed_weights_.find(value); weight != renamed_weights_.end()) {
      return weight->second;
    }
    const auto source = renamed_.find(value);
    if (source != renamed_.end() && reads_codes(reader, value)) return source->second;
    return real_of(value);
  }

  // What a value is called where reals are wanted.
  std::string real_of(const std::string& value) const {
    const auto found = scaled_.find(value);
    return found == scaled_.end() ? value : found->second;
  }

  void add_source(const Node& node) {
    const Source& source = sources_.at(node.name);
    Node quantizer = source.bits == 1 ? nodes_.sign(node)
                                      : nodes_.activation(node, source.bits, carries_sign(node));
    quantizer.inputs = {real_of(node.name)};
    if (replaced(node)) {
      quantizer.inputs = {input_of(node, node.inputs[0])};
      quantizer.set("replaces", node.op);
    }
    renamed_[node.name] = quantizer.name;
    out_.add(std::move(quantizer));
  }

  bool carries_sign(const Node& value) const {
    const Node* from = &value;
    while (keeps_grid(*from)) from = graph_.find(from->inputs[0]);
    if (from->op == "input") return input_is_signed_;
    return !is_clip(*from) || clip_of(*from).low < 0.0F;
  }

  void add_weight(const Node& node) {
    const int own_bits = weights_.at(node.name);
    if (own_bits == kRealBits) return;
    Node quantizer =
        nodes_.weight(node, own_bits == 0 ? std::nullopt : std::optional<int>(own_bits));
    renamed_weights_[node.name] = quantizer.name;
    out_.add(std::move(quantizer));
  }

  // y = product * k_map(its real input).
  void scale(const Node& product) {
    const Node& value = *place_of(product);
    Node map{.name = cat(product.name, ".k"), .op = "k_map", .inputs = {}, .attributes = {}};
    map.inputs = {replaced(value) ? input_of(value, value.inputs[0]) : real_of(value.name)};
    if (product.op == "conv2d") {
      const Shape weight = graph_.find(product.inputs[1])->shape("shape");
      const integer::Window window = layers::conv_window(product);
      if (weight.h() != weight.w() || window.pad_h() != window.pad_w()) {
        throw ConfigError(ErrorText{
            product.name, "a square kernel and padding for quantizer xnor",
            cat(weight.h(), "x", weight.w(), ", pad ", window.pad_h(), "x", window.pad_w()),
            "use quantizer bwn"});
      }
      if (weight.h() != 1) map.set("kernel", cat(weight.h()));
      for (const char* key : {"stride", "pad"}) {
        if (product.has(key)) map.set(key, product.word(key, ""));
      }
    }
    Node scaled{.name = cat(product.name, ".scaled"),
                .op = "scale_map",
                .inputs = {product.name, map.name},
                .attributes = {}};
    scaled_[product.name] = scaled.name;
    out_.add(std::move(map));
    out_.add(std::move(scaled));
  }

  const Graph& graph_;
  const QuantOptions& options_;
  const QuantizerNodes& nodes_;
  bool input_is_signed_;
  std::vector<const Node*> products_;
  std::map<std::string, Source> sources_;       // values whose codes products read
  std::map<std::string, int> weights_;          // weight > width of its own, 0: by the method
  std::set<std::string> on_the_way_;            // from such a value to the product
  std::map<std::string, std::string> renamed_;  // such a value > its fake_quant node
  std::map<std::string, std::string> renamed_weights_;  // weight > its fake_quant node
  std::map<std::string, std::string> scaled_;           // product > its scale_map
  Graph out_;
};

}  // namespace

Graph insert_signs(const Graph& graph, const QuantOptions& options, const QuantizerNodes& nodes,
                   bool input_is_signed) {
  return SignInserter(graph, options, nodes, input_is_signed).run();
}

}  // namespace bitloom::quant
