#include "bitloom/kernels/f32_conv2d.h"

#include "float_layers.h"
#include "weighted_layer.h"

namespace bitloom::layers {

std::unique_ptr<Layer> make_conv2d(const LayerContext& context) {
  require_reals(context);
  const kernels::F32Conv2dProblem problem{.source = context.inputs[0].shape,
                                          .weight = context.inputs[1].shape,
                                          .window = conv_window(context.node),
                                          .bias = flag(context.node, "bias", false)};
  const Shape output = kernels::conv2d_output(context.node.name, problem);
  return std::make_unique<WeightedLayer>(context,
                                         kernels::TrainingProblem{.source = problem.source,
                                                                  .weight = problem.weight,
                                                                  .window = problem.window,
                                                                  .bias = problem.bias},
                                         output);
}

}  // namespace bitloom::layers
