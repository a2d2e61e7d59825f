#include "bitloom/quant/code_statistics.h"

#include <algorithm>
#include <unordered_set>

#include "bitloom/quant/quantizer.h"

namespace bitloom::quant {
namespace {

// A filter as text, turned so that its first code that is not 0 is positive.
void turn(std::string& filter) {
  const auto first =
      std::find_if(filter.begin(), filter.end(), [](char code) { return code != 0; });
  if (first == filter.end() || *first > 0) return;
  for (char& code : filter) code = static_cast<char>(-code);
}

}  // namespace

CodeStatistics code_statistics(ConstTensorView codes) {
  const auto values = codes.span<std::int8_t>();
  const Shape& shape = codes.shape();
  CodeStatistics out{.weights = codes.elements()};
  const auto zeros = std::count(values.begin(), values.end(), std::int8_t{0});
  out.zero_share =
      out.weights == 0 ? 0.0 : static_cast<double>(zeros) / static_cast<double>(out.weights);
  const std::int64_t taps = shape.rank() == 4 ? shape.h() * shape.w() : 1;
  // OHWI: tap t of input channel i stands at t * I + i.
  const std::int64_t inputs = taps == 1 ? 1 : shape.c();
  const std::int64_t length = taps == 1 ? out.weights / shape[0] : taps;
  const std::int64_t of_output = out.weights / shape[0];
  std::unordered_set<std::string> different;
  std::string filter(static_cast<std::size_t>(length), '\0');
  for (std::int64_t o = 0; o < shape[0]; ++o) {
    for (std::int64_t i = 0; i < inputs; ++i) {
      for (std::int64_t t = 0; t < length; ++t) {
        filter[static_cast<std::size_t>(t)] =
            static_cast<char>(values[static_cast<std::size_t>(o * of_output + t * inputs + i)]);
      }
      turn(filter);
      different.insert(filter);
      ++out.filters;
    }
  }
  out.unique_filters = static_cast<std::int64_t>(different.size());
  return out;
}

LevelCodes level_codes(const layers::Graph& graph, const layers::ParameterStore& store) {
  LevelCodes codes;
  for (const layers::Node& node : graph.nodes()) {
    if (!is_fake_quant(node) || !quantizes_weight(node)) continue;
    if (format_of(node).grid == integer::Grid::kAffine) continue;
    codes.emplace(node.inputs[0], weight_codes(node, store));
  }
  return codes;
}

double changed_share(const LevelCodes& before, const LevelCodes& after) {
  std::int64_t changed = 0;
  std::int64_t count = 0;
  for (const auto& [name, codes] : after) {
    const auto found = before.find(name);
    if (found == before.end() || found->second.shape() != codes.shape()) continue;
    const auto now = codes.span<std::int8_t>();
    const auto then = found->second.span<std::int8_t>();
    for (std::size_t i = 0; i < now.size(); ++i) changed += now[i] != then[i] ? 1 : 0;
    count += codes.elements();
  }
  return count == 0 ? 0.0 : static_cast<double>(changed) / static_cast<double>(count);
}

}  // namespace bitloom::quant
