// Values for tests that must not be 0 or 1 by accident.
#pragma once

#include <string>

#include "bitloom/core/random.h"
#include "bitloom/layers/parameter.h"

namespace bitloom::layers {

/// Fills with normal numbers of the stream `name`.
inline void fill_normal(TensorView tensor, const std::string& name, float mean = 0.0F,
                        float deviation = 1.0F) {
  const RandomStream random(11, name);
  const auto values = tensor.span<float>();
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = mean + deviation * random.normal(i);
}

/// Gives biases, gammas and betas other values than their neutral ones.
inline void shake(ParameterStore& store) {
  for (auto& [name, parameter] : store.all()) {
    if (!is_trainable(parameter.role)) continue;
    const bool is_scale = parameter.role == Role::kNormScale;
    const bool is_weight = parameter.role == Role::kWeight;
    fill_normal(parameter.value, name, is_scale ? 1.0F : 0.0F, is_weight ? 0.7F : 0.3F);
  }
}

}  // namespace bitloom::layers
