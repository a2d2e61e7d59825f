#include "node_grid.h"

#include <cmath>

#include "bitloom/core/error.h"
#include "bitloom/quant/observer.h"

namespace bitloom::quant {

const layers::Parameter* shared_zero_point(const layers::LayerContext& context) {
  const std::string name = cat(context.node.word("share", ""), ".zero_point");
  return context.parameters.has(name) ? &context.parameters.at(name) : nullptr;
}

layers::Parameter* joined_range(const layers::LayerContext& context) {
  const std::string name = cat(context.node.word("share", ""), ".range");
  const bool follows =
      context.node.integer("joined", 0) != 0 && context.node.integer("frozen", 0) == 0;
  return follows && context.parameters.has(name) ? &context.parameters.at(name) : nullptr;
}

void check_scale(const std::string& node, std::int64_t index, float scale) {
  if (scale > kSmallestScale && std::isfinite(scale)) return;
  throw NumericError(ErrorText{cat(node, ".scale[", index, "]"), "a finite scale above 1e-12",
                               cat(scale), "lower train.scale_lr_ratio or train.lr"});
}

}  // namespace bitloom::quant
