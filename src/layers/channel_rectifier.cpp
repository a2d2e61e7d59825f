#include "channel_rectifier.h"

namespace bitloom::layers {
namespace {

constexpr float kFirstSlope = 0.25F;  // He et al., arXiv:1502.01852, section 2.1

const float* values(const Parameter* of) {
  return of == nullptr ? nullptr : of->value.data<float>();
}
float* gradient(Parameter* of) { return of == nullptr ? nullptr : of->gradient.data<float>(); }

}  // namespace

ChannelRectifier::ChannelRectifier(const LayerContext& context, bool shifts) {
  const auto declare = [&](const char* word, Role role, float value) {
    return &context.parameters.declare(context.node.name + word, Shape{context.inputs[0].shape.c()},
                                       role, {.constant = value});
  };
  slope_ = declare(".slope", Role::kNormScale, kFirstSlope);
  if (!shifts) return;
  threshold_ = declare(".threshold", Role::kNormShift, 0.0F);
  offset_ = declare(".offset", Role::kNormShift, 0.0F);
}

kernels::RectifierChannels ChannelRectifier::channels() const {
  return {.slope = values(slope_), .threshold = values(threshold_), .offset = values(offset_)};
}

kernels::RectifierGradients ChannelRectifier::gradients() {
  return {
      .slope = gradient(slope_), .threshold = gradient(threshold_), .offset = gradient(offset_)};
}

}  // namespace bitloom::layers
