#include "sign.h"

#include <algorithm>

namespace bitloom::deploy {

bool is_non_negative(const integer::Model& model, int tensor) {
  if (tensor == 0) {
    const auto values = model.input_table.span<float>();
    return std::all_of(values.begin(), values.end(), [](float value) { return value >= 0.0F; });
  }
  const auto made = std::find_if(model.layers.begin(), model.layers.end(),
                                 [&](const auto& layer) { return layer.output == tensor; });
  if (made == model.layers.end()) return false;
  if (made->clip.low >= 0.0F) return true;
  if (made->op == integer::LayerOp::kKMap) return true;
  const bool moves_zero =
      made->op == integer::LayerOp::kAffine || made->op == integer::LayerOp::kPrelu;
  if (!made->weight.empty() || moves_zero) return false;
  return std::all_of(made->inputs.begin(), made->inputs.end(),
                     [&](int input) { return is_non_negative(model, input); });
}

}  // namespace bitloom::deploy
