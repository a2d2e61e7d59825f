// Lowering of what has no weights and moves, selects or averages values: input, pools, concat.
// Goes to: lower.cpp.
#pragma once

#include "model_draft.h"

namespace bitloom::deploy {

/// The input's tensor and the table from pixels to its reals or codes. `normalization` f32 [C,
/// 256].
/// @throws ShapeError if the data have another channel count.
void add_input(ModelDraft& draft, const layers::Node& node, ConstTensorView normalization);

/// max_pool, avg_pool or global_avg_pool. The fake_quant node behind an average of codes is the
/// average's own rounding. `lowest` (integer/model.h) may be empty.
/// @throws ConfigError unless that node is there and shares its source's grid.
void add_pool(ModelDraft& draft, const layers::Node& node, Tensor lowest);

/// concat. @throws ConfigError unless its inputs have one grid.
void add_concat(ModelDraft& draft, const layers::Node& node);

}  // namespace bitloom::deploy
