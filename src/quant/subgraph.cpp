#include "subgraph.h"

#include <set>

namespace bitloom::quant {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

bool is_product(const Node& node) { return node.op == "conv2d" || node.op == "linear"; }

const Node* only_reader(const Graph& graph, const Node& node) {
  const std::vector<std::string> readers = graph.readers(node.name);
  return readers.size() == 1 ? graph.find(readers[0]) : nullptr;
}

const Node* batch_norm_behind(const Graph& graph, const Node& product) {
  const Node* reader = only_reader(graph, product);
  return reader != nullptr && reader->op == "batch_norm" ? reader : nullptr;
}

Graph up_to(const Graph& graph, const std::string& name) {
  std::set<std::string> needed{name};
  for (auto node = graph.nodes().rbegin(); node != graph.nodes().rend(); ++node) {
    if (!needed.contains(node->name)) continue;
    needed.insert(node->inputs.begin(), node->inputs.end());
  }
  Graph out;
  for (const Node& node : graph.nodes()) {
    if (!needed.contains(node.name)) continue;
    out.add(node);
    if (node.name == name) break;
  }
  return out;
}

Graph renamed_ops(const Graph& graph, const std::string& from, const std::string& to) {
  Graph out;
  for (const Node& node : graph.nodes()) {
    Node copy = node;
    if (copy.op == from) copy.op = to;
    out.add(std::move(copy));
  }
  return out;
}

ParameterStore clone(const ParameterStore& store) {
  ParameterStore out(store.seed());
  for (const auto& [name, parameter] : store.all()) {
    copy(parameter.value, out.declare(name, parameter.value.shape(), parameter.role, {}).value);
  }
  return out;
}

}  // namespace bitloom::quant
