#include "bitloom/quant/passes.h"

#include <map>

#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::quant {

using layers::Graph;
using layers::Node;

Graph strip_fake_quant(const Graph& graph) {
  Graph out;
  std::map<std::string, std::string> renamed;
  for (const Node& node : graph.nodes()) {
    const auto source = [&](const std::string& name) {
      const auto it = renamed.find(name);
      return it == renamed.end() ? name : it->second;
    };
    if (is_fake_quant(node) && node.has("replaces")) {
      // The activation function that the quantizer stood for has the name without ".q".
      const std::string name = node.name.substr(0, node.name.size() - 2);
      out.add({name, node.word("replaces", ""), {source(node.inputs[0])}, {}});
      renamed[node.name] = name;
      continue;
    }
    if (node.op == "k_map" && node.name.ends_with(".k")) continue;
    if (is_fake_quant(node) || (node.op == "scale_map" && node.name.ends_with(".scaled"))) {
      renamed[node.name] = source(node.inputs[0]);
      continue;
    }
    Node copy = node;
    for (std::string& input : copy.inputs) input = source(input);
    if (copy.op == "shift_batch_norm") copy.op = "batch_norm";
    std::erase_if(copy.attributes, [](const auto& pair) { return pair.first == "frozen"; });
    out.add(std::move(copy));
  }
  return out;
}

}  // namespace bitloom::quant
