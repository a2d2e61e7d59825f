// A training run on synthetic images, ready for its first step.
// Comes from: config.h. Goes to: tools (bench --training).
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "bitloom/core/tensor.h"
#include "bitloom/train/step.h"
#include "bitloom/trainers/config.h"

namespace bitloom::trainers {

/// What `bitloom train` would run with this config, but for the data: kBatches batches of the
/// synthetic reader's images, (pixel / 255 - 0.5) / 0.25, in memory before the first step. The
/// learning rate is train.lr in every step; there is no validation and nothing is written.
/// With quant.method = qat the quantizers are calibrated on at most train.batch and at most
/// kCalibrationImages other images, few, so that calibration does not set the peak of memory.
class BenchmarkRun {
 public:
  static constexpr std::int64_t kBatches = 4;
  static constexpr std::int64_t kCalibrationImages = 32;

  /// Uses of config.data only classes and synthetic_{height, width, channels, seed}.
  /// @throws ConfigError if quant.method is neither float nor qat; what Network throws for images
  ///         that do not fit config.model; BackendError for a profile that this CPU lacks.
  explicit BenchmarkRun(Config config);

  /// The next step, on the next batch in turn; returns its loss. A clock is started, and gets the
  /// laps of all the step.
  /// @throws NumericError if that is not finite.
  double step(LapClock* clock = nullptr);

  const Config& config() const { return config_; }
  const layers::Network& network() const { return step_->network(); }
  /// Trained values but for those of quantizers: weights, biases, batch norm's scales and shifts.
  std::int64_t parameters() const;

 private:
  Config config_;
  std::vector<Tensor> images_;
  std::vector<std::vector<std::int32_t>> labels_;
  train::Checkpoint checkpoint_;
  std::optional<train::TrainingStep> step_;
  std::int64_t done_ = 0;
};

}  // namespace bitloom::trainers
