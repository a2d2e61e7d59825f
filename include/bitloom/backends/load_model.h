// An exported model from its file, ready for a Session.
// Comes from: HDF5 files of `bitloom export`. Goes to: backends/session.h.
#pragma once

#include <filesystem>

#include "bitloom/integer/model.h"

namespace bitloom::backends {

/// Reads and checks all of it: checksum, schema, every promise of integer/model.h.
/// @throws FormatError or NumericError if the file is missing, damaged, of another schema or
///         version, or promises what it does not hold.
integer::Model load_model(const std::filesystem::path& path);

}  // namespace bitloom::backends
