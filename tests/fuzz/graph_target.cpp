#include "bitloom/core/error.h"
#include "bitloom/layers/graph.h"
#include "fuzz/target.h"
#include "support/residual_graph.h"

namespace bitloom::fuzz {
namespace {

/// What is parsed prints in one normal form, which parses to itself.
void run(std::string_view bytes) {
  const std::string text = layers::Graph::parse(bytes, "fuzz").to_text();
  if (layers::Graph::parse(text, "again").to_text() != text) {
    throw std::logic_error("a graph's text does not read back");
  }
}

}  // namespace

Target graph_target() {
  return {"graph", run, [] { return std::vector<std::string>{residual_text()}; }};
}

}  // namespace bitloom::fuzz
