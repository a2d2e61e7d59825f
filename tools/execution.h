// One execution of a network with everything that it computes: an exported model on a backend, or a
// checkpoint's graph in float or with its fake-quant nodes.
// Comes from: model_file.h, bitloom/train/checkpoint.h. Goes to: diff_command.cpp.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "bitloom/datasets/dataset.h"
#include "bitloom/trainers/config.h"
#include "diff.h"

namespace bitloom::tools {

/// "FILE" or "FILE@EXECUTOR". Executors of an exported model are the backends (default: onednn); of
/// a checkpoint "float" (quantizers off) and "fake-quant" (default).
struct ExecutionRequest {
  std::filesystem::path path;
  std::string executor;
  bool is_model = false;  ///< else a checkpoint

  std::string label() const { return path.string() + "@" + executor; }
};

/// @throws ConfigError for an executor that the file does not have, listing those that it has;
///         FormatError if the file is no model and no checkpoint.
ExecutionRequest parse_execution(const std::string& text);

/// Configuration and input shape [1, C, H, W] that the file was made with.
struct ExecutionInput {
  trainers::Config config;
  Shape shape;
};
ExecutionInput input_of(const ExecutionRequest& request);

/// Runs u8 images [N, C, H, W]. Layers are those of the exported model (a checkpoint is lowered to
/// learn them); values of codes become reals by their tensor's scale and zero point.
/// @throws BackendError if the backend does not run a layer; ShapeError.
Execution run_execution(const ExecutionRequest& request, ConstTensorView images);

}  // namespace bitloom::tools
