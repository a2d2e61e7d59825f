#include "bitloom/core/error.h"
#include "float_layers.h"
#include "weighted_layer.h"

namespace bitloom::layers {

std::unique_ptr<Layer> make_linear(const LayerContext& context) {
  require_reals(context);
  const Shape& source = context.inputs[0].shape;
  const Shape& weight = context.inputs[1].shape;
  if (source.rank() != 2) {
    throw ShapeError({.place = context.node.name,
                      .expected = "input [N, I]",
                      .found = to_string(source),
                      .remedy = "put a flatten before it"});
  }
  if (weight.rank() != 2 || weight.c() != source.c()) {
    throw ShapeError({.place = context.node.name,
                      .expected = cat("weight [O, ", source.c(), "] for input ", to_string(source)),
                      .found = to_string(weight),
                      .remedy = ""});
  }
  return std::make_unique<WeightedLayer>(
      context,
      kernels::TrainingProblem{
          .source = source, .weight = weight, .bias = flag(context.node, "bias", false)},
      Shape{source.n(), weight.n()});
}

}  // namespace bitloom::layers
