// What a session settles before it plans layers: profile, rows, tensors as the backend carries
// them. Goes to: session.cpp.
#pragma once

#include <string>
#include <vector>

#include "backend.h"
#include "bitloom/backends/session.h"

namespace bitloom::backends {

/// @throws BackendError if the backend would compute the model's profile wrongly on this CPU.
void check_profile(const integer::Model& model, const Backend& backend);

/// Wishes, one a layer or none: the options', else what the model's file holds for this machine.
/// @throws ConfigError if the options name another number of layers.
std::vector<std::string> preferred_implementations(const integer::Model& model,
                                                   const SessionOptions& options);

/// The layer's row before anything was chosen.
PlanRow row_of(const LayerContext& context);

/// The model's tensors as the backend carries them.
std::vector<integer::TensorInfo> carried_tensors(const integer::Model& model,
                                                 const Backend& backend);

/// The table in the type of what it fills.
Tensor carried_table(const Tensor& table, DType dtype);

}  // namespace bitloom::backends
