// Which tensors of a model cannot be negative.
#pragma once

#include "bitloom/integer/model.h"

namespace bitloom::deploy {

/// True if no image can make a value of the tensor negative: a clip at 0 or above made it, or an
/// operation without weights out of such tensors, or it is the input and no pixel is negative.
/// @pre the tensor is f32 and the layers before it are in the model.
bool is_non_negative(const integer::Model& model, int tensor);

}  // namespace bitloom::deploy
