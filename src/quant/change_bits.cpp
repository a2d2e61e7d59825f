#include "bitloom/quant/change_bits.h"

#include <map>
#include <string>
#include <utility>

#include "bitloom/quant/passes.h"
#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {
namespace {

using layers::Graph;
using layers::Node;
using layers::ParameterStore;

bool same_codes(const Node& old_node, const Node& new_node) {
  const integer::AffineFormat before = format_of(old_node);
  const integer::AffineFormat after = format_of(new_node);
  return before.bits == after.bits && before.is_signed == after.is_signed &&
         before.range == after.range;
}

// Parameters "<node>.<word>".
std::map<std::string, Tensor> parameters_of(const std::string& node, const ParameterStore& store) {
  const std::string prefix = node + ".";
  std::map<std::string, Tensor> values;
  const auto& all = store.all();
  for (auto at = all.lower_bound(prefix); at != all.end() && at->first.starts_with(prefix); ++at) {
    values.emplace(at->first, at->second.value.clone());
  }
  return values;
}

}  // namespace

Graph change_bits(const Graph& graph, ParameterStore& store, const QuantOptions& options,
                  const QuantizeTarget& target, const CalibrationBatches& batches,
                  std::int64_t batch) {
  const Graph inserted =
      insert_fake_quant(strip_fake_quant(graph), options, target.profile, target.input_is_signed);
  std::map<std::string, std::map<std::string, Tensor>> kept;
  for (const Node& node : inserted.nodes()) {
    const Node* before = graph.find(node.name);
    if (!is_fake_quant(node) || before == nullptr || !same_codes(*before, node)) continue;
    kept.emplace(node.name, parameters_of(node.name, store));
  }
  Graph changed = calibrate(inserted, store, batches, batch, calibration_options(options));
  for (const auto& [node, parameters] : kept) {
    for (const auto& [name, value] : parameters) copy(value, store.at(name).value);
    const Node* before = graph.find(node);
    if (before->has("zero_point")) {
      changed.find(node)->set("zero_point", before->word("zero_point", "0"));
    }
  }
  settle_quantizers(changed, store);
  return changed;
}

}  // namespace bitloom::quant
