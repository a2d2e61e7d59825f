// bench --tune: a measured choice of kernels, stored in the exported model's file.
// Comes from: backends/tune.h. Goes to: bench_models.cpp.
#pragma once

#include <cstdint>
#include <string>

#include "bench_models.h"

namespace bitloom::tools {

/// Measures the model's layers at this batch with the threads and the ISA cap of the process, and
/// writes the file anew with the choice, which sessions on this machine then take by themselves.
/// @return a table of the layers that another implementation runs faster.
/// @throws FormatError, BackendError.
std::string tune_file(const BenchedModel& model, std::int64_t batch);

}  // namespace bitloom::tools
