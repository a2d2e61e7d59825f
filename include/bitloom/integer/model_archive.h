// Exported model <-> Archive (schema "bitloom.model", version 5, a packed archive). Codes of fewer
// than 8 bits are packed on disk: b bits each, little-endian bit order, offset by qmin, rows padded
// to whole bytes.
#pragma once

#include "bitloom/core/archive.h"
#include "bitloom/integer/model.h"

namespace bitloom::integer {

Archive to_archive(const Model& model);
/// Validates. @throws FormatError, for files of another version too.
Model model_from_archive(const Archive& archive);

}  // namespace bitloom::integer
