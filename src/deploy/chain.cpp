#include "chain.h"

#include "bitloom/quant/fake_quant_layer.h"

namespace bitloom::deploy {

Chain chain_from(const layers::Graph& graph, const layers::Node& head) {
  Chain chain{.head = &head, .end = &head};
  while (true) {
    const std::vector<std::string> readers = graph.readers(chain.end->name);
    if (readers.size() != 1) return chain;
    const layers::Node* next = graph.find(readers[0]);
    const bool computing = chain.relu == nullptr && chain.fake_quant == nullptr;
    if (next->op == "batch_norm" && chain.end == chain.head && head.op != "add") {
      chain.batch_norm = next;
    } else if (next->op == "add" && computing && chain.add == nullptr && head.op != "add" &&
               next->inputs[0] == chain.end->name) {
      chain.add = next;
    } else if (next->op == "relu" && computing) {
      chain.relu = next;
    } else if (quant::is_fake_quant(*next) && chain.fake_quant == nullptr) {
      chain.fake_quant = next;
    } else {
      return chain;
    }
    chain.end = next;
  }
}

}  // namespace bitloom::deploy
