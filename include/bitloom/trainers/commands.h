// The commands that train and quantize, as functions: the program and `compare` call the same.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>

#include "bitloom/quant/code_statistics.h"
#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// What a running training tells its watcher (progress bar, log).
struct StepReport {
  std::int64_t epoch = 0;  ///< from 0
  std::int64_t epochs = 0;
  std::int64_t step = 0;    ///< within the epoch, from 0
  std::int64_t steps = 0;   ///< in an epoch
  double loss = 0.0;        ///< mean since the epoch began
  double train_top1 = 0.0;  ///< percent, since the epoch began
  double images_per_second = 0.0;
  bool epoch_done = false;
  double validation_top1 = 0.0;  ///< percent; valid when epoch_done
};
using StepWatcher = std::function<void(const StepReport&)>;

struct TrainRequest {
  Config config;
  std::filesystem::path out;   ///< folder: checkpoint.h5, config.cfg, epochs.jsonl (teacher.h5)
  std::filesystem::path init;  ///< checkpoint whose weights start the run; may be empty
  bool resume = false;         ///< continue out/checkpoint.h5 bit for bit; config comes from it
  std::string precision;       ///< resume: train.precision from here on; empty: the run's own
  StepWatcher watcher;
};
struct TrainResult {
  std::filesystem::path checkpoint;
  double validation_top1 = 0.0;  ///< percent, of the exported model on its backend
  std::int64_t epochs = 0;
  double minutes = 0.0;
  bool interrupted = false;  ///< request_stop() was called; the checkpoint is whole
};
/// One training loop for float and qat (config.quant.method).
TrainResult train(const TrainRequest& request);

/// `folder`/checkpoint.h5. @throws ConfigError unless it is there: `folder` is no run's.
std::filesystem::path checkpoint_to_resume(const std::filesystem::path& folder);

/// Asks the running training to save and return after the current step; async-signal-safe.
void request_stop() noexcept;

struct QuantizeRequest {
  std::filesystem::path checkpoint;  ///< a float checkpoint
  Config config;                     ///< config.quant.method is a "ptq-..."; [data] calibrates
  std::filesystem::path out;         ///< checkpoint with fake-quant nodes
};
void quantize(const QuantizeRequest& request);

struct ExportRequest {
  std::filesystem::path checkpoint;
  std::string profile;        ///< "" means the checkpoint's
  std::filesystem::path out;  ///< model.h5
};
void export_model(const ExportRequest& request);

/// config.model.network, or the stem of config.model.file.
std::string network_name(const Config& config);

/// How far quantization moved the network: exported model against float networks, over the test
/// images.
struct QuantizationMeasure {
  /// Of the logits. Signal: the float network `reference`; without one, the checkpoint's own
  /// weights with the quantizers off (QAT moves them), NaN where a quantizer is more than a grid
  /// (tanh of dorefa and pact). Infinite if identical.
  double sqnr_db = std::numeric_limits<double>::quiet_NaN();
  /// Share of images whose top-1 equals the float simulation's; NaN for ptq-dynamic, which has
  /// none.
  double simulation_agreement = std::numeric_limits<double>::quiet_NaN();
};
/// `reference` is the float checkpoint that a post-training method started from, or "".
QuantizationMeasure measure_quantization(const std::filesystem::path& checkpoint,
                                         const std::filesystem::path& reference,
                                         const Config& config);

/// Short facts of a checkpoint for rows and `inspect`.
struct CheckpointSummary {
  std::string network;
  std::string method;
  std::string profile;
  Config config;  ///< as resolved when it was made
  std::string graph_text;
  std::int64_t epoch = 0;
  std::int64_t step = 0;
  double minutes = 0.0;     ///< spent training
  std::string precision;    ///< train.precision it was trained with
  quant::LevelCodes codes;  ///< of weights of one and two bits
};
CheckpointSummary summarize_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace bitloom::trainers
